// SPDX-License-Identifier: Apache-2.0
// Atomic operations. Threads switch only where they wait, so each is a plain read and write.
#pragma once

namespace cuda_on_host {

template <class T, class Change>
T exchange(T* address, const Change& change) {
    const T before = *address;
    *address = static_cast<T>(change(before));
    return before;
}

/// Keeps the type of the value from being deduced, as CUDA's overloads convert it to the type of the address.
template <class T>
struct Same {
    using type = T;
};
template <class T>
using SameT = typename Same<T>::type;

}  // namespace cuda_on_host

#define CUDA_ON_HOST_ATOMIC(name, result)                                             \
    template <class T>                                                                \
    T name(T* address, cuda_on_host::SameT<T> value) {                                \
        return cuda_on_host::exchange(address, [value](T before) { return result; }); \
    }
CUDA_ON_HOST_ATOMIC(atomicAdd, before + value)
CUDA_ON_HOST_ATOMIC(atomicSub, before - value)
CUDA_ON_HOST_ATOMIC(atomicMin, value < before ? value : before)
CUDA_ON_HOST_ATOMIC(atomicMax, before < value ? value : before)
CUDA_ON_HOST_ATOMIC(atomicAnd, before& value)
CUDA_ON_HOST_ATOMIC(atomicOr, before | value)
CUDA_ON_HOST_ATOMIC(atomicXor, before ^ value)
CUDA_ON_HOST_ATOMIC(atomicExch, (static_cast<void>(before), value))
CUDA_ON_HOST_ATOMIC(atomicInc, before >= value ? T{0} : before + 1)
CUDA_ON_HOST_ATOMIC(atomicDec, before == 0 || before > value ? value : before - 1)
#undef CUDA_ON_HOST_ATOMIC

template <class T>
T atomicCAS(T* address, cuda_on_host::SameT<T> compare, cuda_on_host::SameT<T> value) {
    return cuda_on_host::exchange(address, [=](T before) { return before == compare ? value : before; });
}
