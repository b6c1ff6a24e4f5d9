// SPDX-License-Identifier: Apache-2.0
// The search runs in a Worker, which browsers refuse to a page that was opened as a file. There, a hidden frame takes
// the Worker's place; where the site is served nothing is changed.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(script) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const load = (url) =>
        new Promise((loaded, failed) => {
          const element = inside.document.createElement("script");
          Object.assign(element, { src: url, onload: loaded, onerror: failed });
          inside.document.body.append(element);
        });
      inside.importScripts = (...urls) => urls.reduce((before, url) => before.then(() => load(url)), Promise.resolve());
      this.ready = load(script);
    }

    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
