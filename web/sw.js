// Keeps the page and the model for use without a network, and isolates the page so that WebAssembly can use threads.

importScripts("build.js"); // BUILD: {version, files}

self.addEventListener("install", (event) => {
  const keep = async () => (await caches.open(BUILD.version)).addAll(BUILD.files);
  event.waitUntil(keep().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const drop = async () => {
    const old = (await caches.keys()).filter((name) => name.startsWith("liqe-") && name !== BUILD.version);
    await Promise.all(old.map((name) => caches.delete(name)));
  };
  event.waitUntil(drop().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && new URL(request.url).origin === location.origin) {
    event.respondWith(answer(request));
  }
});

async function answer(request) {
  const cache = await caches.open(BUILD.version);
  const kept = await cache.match(request, { ignoreSearch: true });
  if (kept) return isolated(kept);
  const fresh = await fetch(request);
  // What is not needed by every browser, such as the runtime for WebGPU, is kept when it was used.
  if (fresh.ok) await cache.put(request, fresh.clone());
  return isolated(fresh);
}

function isolated(response) {
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
