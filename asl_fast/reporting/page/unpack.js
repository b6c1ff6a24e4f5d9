// SPDX-License-Identifier: Apache-2.0
// From packed columns (packed.py) to typed arrays.

async function unpack(packed) {
  const text = atob(packed.data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const columns = {};
  let begin = 0;
  for (const [name, size, differences] of packed.columns) {
    const values = new (
      size === 1 ? Uint8Array : size === 2 ? Uint16Array : differences ? Int32Array : Uint32Array
    )(packed.count);
    for (let byte = 0; byte < size; byte++, begin += packed.count) {
      for (let i = 0; i < packed.count; i++) values[i] |= planes[begin + i] << (8 * byte);
    }
    // Sums wrap around at 32 bits, as the differences did.
    if (differences) for (let i = 1; i < packed.count; i++) values[i] += values[i - 1];
    columns[name] = values;
  }
  return columns;
}

// Where each video's rows begin, with one more entry for the end of the last.
function offsets(counts) {
  const found = new Uint32Array(counts.length + 1);
  for (let i = 0; i < counts.length; i++) found[i + 1] = found[i] + counts[i];
  return found;
}
