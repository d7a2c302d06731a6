// The live player and the page's address. Everything hangs on window.dtsgan; Gradio's handlers call it.
(() => {
  "use strict";
  const DEFAULTS = { model: "", seed: 0, seconds: 5, width: 0, height: 0, speed: 1, diversity: 1, loop: false, tile: "" };
  const AHEAD = 24; // frames kept ready: a second, so that a busy machine's pauses do not show
  const $ = (selector) => document.querySelector(selector);
  let wish = { ...DEFAULTS };
  let socket = null, job = 0, head = null, ready = [], asked = 0, arriving = Promise.resolve();
  let shown = 0, next = 0, paused = false, stopped = true, loop = [], loopComplete = false, retry = 0, rate = [], timer = 0, said = null;

  // -- socket ---

  function connect() {
    const address = new URL("live", document.baseURI);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    address.search = "";
    socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => play(shown);
    socket.onmessage = (event) => (typeof event.data === "string" ? told(JSON.parse(event.data)) : received(event.data));
    socket.onclose = () => {
      socket = null;
      if (stopped) return;
      retry += 1; // the texture goes on where it was: any frame can be drawn without those before it
      setTimeout(() => { if (!stopped && !socket) connect(); }, Math.min(8000, 500 * 2 ** retry));
    };
  }

  function play(from) {
    job = (job + 1) % 2 ** 31;
    asked = AHEAD;
    for (const frame of ready) frame.close();
    ready = [];
    head = null;
    shown = from;
    const want = { ...wish, start_frame: wish.loop ? 0 : from };
    socket.send(JSON.stringify({ id: job, play: want, more: AHEAD }));
    if (!$(".dt-screen canvas.film")?.width || $(".dt-stage")?.dataset.model !== wish.model) say("wait", "Loading the texture …");
  }

  function told(message) {
    if (message.id !== undefined && message.id !== job) return;
    if (message.error) { say("trouble", message.error); return; }
    if (message.end) { loopComplete = true; return; }
    head = message;
    retry = 0;
    for (const frame of loop) frame.close();
    loop = [];
    loopComplete = false;
    shown = message.start_frame;
    next = 0;
    const stage = $(".dt-stage");
    if (stage) { stage.dataset.model = wish.model; stage.querySelector(".title").textContent = message.title; }
  }

  function received(buffer) {
    if (new DataView(buffer).getUint32(0, true) !== job) return;
    const of = job;
    const picture = createImageBitmap(new Blob([new Uint8Array(buffer, 4)], { type: "image/jpeg" }));
    arriving = arriving.then(() => picture).then((frame) => {
      if (of !== job) { frame.close(); return; }
      asked -= 1;
      if (head && head.loop) loop.push(frame); else ready.push(frame);
    }).catch(() => {});
  }

  function askForMore() {
    if (!socket || socket.readyState !== 1 || !head || paused) return;
    if (head.loop) {
      if (!loopComplete && asked < AHEAD) { socket.send(JSON.stringify({ id: job, more: AHEAD })); asked += AHEAD; }
    } else if (ready.length + asked <= AHEAD - 8) {
      const more = AHEAD - ready.length - asked;
      asked += more;
      socket.send(JSON.stringify({ id: job, more }));
    }
  }

  // -- picture ---

  function tick(now) {
    timer = requestAnimationFrame(tick); // a hidden tab gets no frames and so asks for none
    if (stopped || paused) return;
    if (!head) { preview(); return; }
    askForMore();
    if (now < next) return;
    const period = 1000 / head.fps;
    if (!next || now - next > 8 * period) next = now; // just begun, or woken up: no catching up
    // a browser that paints slower than the texture moves skips frames, so that time stays true
    while (!head.loop && now - next > period && ready.length > 4) { ready.shift().close(); shown += 1; next += period; }
    const frame = head.loop ? (shown < loop.length || loopComplete ? loop[shown % Math.max(1, loop.length)] : null) : ready.shift();
    if (!frame) { next = 0; return; }
    next += period;
    draw(frame);
    shown += 1;
    if (!head.loop) frame.close();
    rate.push(now);
    while (rate.length > 1 && now - rate[0] > 2000) rate.shift();
    if (shown % 5 === 1) report();
  }

  // Until the first frame is there, the stage shows the tile's loop: it is new video of the same texture.
  function preview() {
    const video = $(`.dt-tile:not(.half)[data-texture="${CSS.escape(wish.model)}"] video`), film = $(".dt-screen canvas.film");
    if (!video || video.readyState < 2 || !film || film.dataset.of === wish.model || wish.width || wish.height || wish.tile) return;
    if (video.paused) video.play().catch(() => {});
    film.width = video.videoWidth;
    film.height = video.videoHeight;
    film.getContext("2d").drawImage(video, 0, 0);
    $(".dt-screen canvas.glow").getContext("2d").drawImage(video, 0, 0, 12, 12);
    say("");
  }

  function draw(frame) {
    const film = $(".dt-screen canvas.film"), glow = $(".dt-screen canvas.glow");
    if (!film) return;
    const across = head.tile.includes("x") ? 2 : 1, down = head.tile.includes("y") ? 2 : 1;
    const width = frame.width * across, height = frame.height * down;
    if (film.width !== width || film.height !== height) { film.width = width; film.height = height; }
    const film2d = film.getContext("2d");
    for (let y = 0; y < down; y++) for (let x = 0; x < across; x++) film2d.drawImage(frame, x * frame.width, y * frame.height);
    if (shown % 3 === 0) glow.getContext("2d").drawImage(frame, 0, 0, glow.width, glow.height);
    if (film.dataset.of !== wish.model) { film.dataset.of = wish.model; restTiles(true); }
    film.dataset.frame = shown;
    say("");
  }

  function report() {
    const fps = rate.length > 1 ? ((rate.length - 1) * 1000) / (rate[rate.length - 1] - rate[0]) : 0;
    const facts = $(".dt-bar .facts");
    if (!facts) return;
    const at = head.loop ? `loop of ${head.loop} frames` : `frame ${shown.toLocaleString("en")}`;
    facts.textContent = `seed ${wish.seed} · ${at} · ${fps.toFixed(0)} fps`;
    facts.dataset.fps = fps.toFixed(1);
  }

  function say(kind, text = "") {
    if (said === kind + text) return;
    said = kind + text;
    for (const name of ["wait", "trouble"]) {
      const note = $(`.dt-screen .${name}`);
      if (!note) continue;
      note.hidden = name !== kind;
      if (name === kind) note.textContent = text;
    }
    $(".dt-stage")?.classList.toggle("live", !kind && !paused && !stopped);
  }

  // -- what the page calls ---

  function start() {
    stopped = false;
    pause(false);
    document.body.classList.add("dt-playing");
    for (const tile of document.querySelectorAll("[data-texture]")) tile.setAttribute("aria-pressed", tile.dataset.texture === wish.model);
    shown = 0;
    share();
    if ($(".dt-screen canvas.film")?.dataset.of === wish.model) restTiles(true);
    if (!timer) timer = requestAnimationFrame(tick);
    if (socket && socket.readyState === 1) play(0);
    else if (!socket) connect();
  }

  // While the stage plays, the tiles rest: on a small machine they would take their share of its cores.
  function restTiles(rest) {
    for (const video of document.querySelectorAll(".dt-grid video")) rest || !video.checkVisibility() ? video.pause() : video.play().catch(() => {});
  }

  // For the same reason no loop plays that is scrolled away or in a tab that is not open.
  const inView = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) target.pause();
      else if (stopped || !target.closest(".dt-grid")) target.play().catch(() => {});
    }
  });

  function pause(on = !paused) {
    paused = on;
    said = null;
    const button = $("#dt-pause");
    if (button) { button.setAttribute("aria-label", on ? "Go on" : "Pause"); button.title = on ? "Go on" : "Pause"; button.classList.toggle("paused", on); }
    $(".dt-stage")?.classList.toggle("live", !on && !stopped);
    next = 0;
    rate = [];
  }

  function stop() {
    stopped = true;
    document.body.classList.remove("dt-playing");
    if (socket) socket.close();
    socket = null;
    restTiles(false);
    wish.model = "";
    if (document.fullscreenElement) document.exitFullscreen();
    share();
  }

  function share() {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(wish)) if (value !== DEFAULTS[name] && wish.model) query.set(name, value === true ? 1 : value);
    const text = query.toString();
    history.replaceState(null, "", text ? `?${text}` : location.pathname);
    // inside a Space the address bar is the parent's
    if (window.parent !== window) window.parent.postMessage({ queryString: text }, "https://huggingface.co");
  }

  async function copyLink(button) {
    const inSpace = window.parent !== window && document.referrer.startsWith("https://huggingface.co");
    const link = inSpace ? document.referrer.split("?")[0] + location.search : location.href;
    try { await navigator.clipboard.writeText(link); } catch { window.prompt("The address of this video", link); }
    button.title = "Copied";
    button.classList.add("done");
    setTimeout(() => { button.title = "Copy link"; button.classList.remove("done"); }, 1500);
  }

  function tune(model, seed, seconds, speed, diversity, loops, width, height, tile) {
    const wanted = { model: model || wish.model, seed: seed ?? 0, seconds, width: width || 0, height: height || 0, speed, diversity,
      loop: Boolean(loops), tile: !tile || tile === "none" ? "" : tile };
    if (!wanted.model) return;
    // the length matters to a live view only where it is a loop's; the address holds it in any case
    const same = Object.keys(DEFAULTS).every((name) => wanted[name] === wish[name] || (name === "seconds" && !wanted.loop));
    wish = wanted;
    if (same && !stopped) { share(); return; }
    clearTimeout(tune.timer);
    tune.timer = setTimeout(start, stopped ? 0 : 200);
  }

  function choose(model) {
    if (model === wish.model && !stopped) return;
    wish = { ...wish, model, width: 0, height: 0, tile: "" };
    start();
    window.scrollTo({ top: 0, behavior: "smooth" });
  }

  function theme(toggle) {
    let dark = document.body.classList.contains("dark");
    if (toggle) {
      dark = !dark;
      try { localStorage.setItem("dtsgan_theme", dark ? "dark" : "light"); } catch { /* private windows */ }
    } else {
      let kept = null;
      try { kept = localStorage.getItem("dtsgan_theme"); } catch { /* private windows */ }
      if (kept && !location.search.includes("__theme")) dark = kept === "dark";
    }
    document.body.classList.toggle("dark", dark);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-do]");
    if (!button) return;
    const what = button.dataset.do;
    if (what === "pause") pause();
    if (what === "stop") stop();
    if (what === "restart") { wish = { ...wish }; start(); }
    if (what === "link") copyLink(button);
    if (what === "theme") theme(true);
    if (what === "full") { if (document.fullscreenElement) document.exitFullscreen(); else $(".dt-stage").requestFullscreen(); }
  });
  for (const [kind, plays] of [["pointerover", true], ["pointerout", false]])
    document.addEventListener(kind, (event) => {
      const video = stopped ? null : event.target.closest?.(".dt-tile")?.querySelector("video");
      if (video) plays ? video.play().catch(() => {}) : video.pause();
    });
  document.addEventListener("play", (event) => { // tiles that the gallery brings in anew
    if (event.target.matches("video[muted][loop], video[autoplay][loop]")) inView.observe(event.target);
    if (!stopped && head && event.target.matches(".dt-grid video") && !event.target.closest(".dt-tile").matches(":hover")) event.target.pause();
  }, true);
  document.addEventListener("keydown", (event) => {
    if (event.key === " " && !stopped && event.target === document.body) { event.preventDefault(); pause(); }
  });

  // As if the link to the saved file had been clicked: Gradio draws it later, and until then shows the last one's.
  function download(file) {
    if (!file?.url) return;
    const link = Object.assign(document.createElement("a"), { href: file.url, download: file.orig_name || "" });
    document.body.append(link);
    link.click();
    link.remove();
  }

  // -- trimming and cropping ---

  function editor(element, trigger, watch) {
    element.addEventListener("click", (event) => {
      const example = event.target.closest("[data-example]");
      if (example) trigger("submit", { name: example.dataset.example });
    });
    const setUp = () => { const box = element.querySelector(".dt-editor"); if (box && !box.dataset.ready) edit(box, trigger); };
    watch("value", setUp);
    setUp();
  }

  function edit(box, trigger) {
    box.dataset.ready = 1;
    const width = Number(box.dataset.width), height = Number(box.dataset.height), total = Number(box.dataset.seconds) || 0;
    const view = box.querySelector(".dt-view"), video = box.querySelector("video"), area = box.querySelector(".dt-crop");
    const rail = box.querySelector(".rail"), part = box.querySelector(".part"), now = box.querySelector(".now"), said = box.querySelector("output");
    const crop = { x: 0, y: 0, w: 1, h: 1 }, time = { start: 0, end: Number(box.dataset.end) || total };
    const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
    if (!total) box.querySelector(".dt-time").hidden = true;

    function paint() {
      Object.assign(area.style, { left: `${crop.x * 100}%`, top: `${crop.y * 100}%`, width: `${crop.w * 100}%`, height: `${crop.h * 100}%` });
      for (const end of ["start", "end"]) {
        const knob = box.querySelector(`[data-t=${end}]`);
        knob.style.left = `${(100 * time[end]) / (total || 1)}%`;
        for (const [name, value] of [["now", time[end].toFixed(2)], ["min", 0], ["max", total.toFixed(2)], ["text", `${time[end].toFixed(2)} seconds`]])
          knob.setAttribute(`aria-value${name}`, value);
      }
      Object.assign(part.style, { left: `${(100 * time.start) / (total || 1)}%`, right: `${100 - (100 * time.end) / (total || 1)}%` });
      const size = `${Math.round(crop.w * width)} × ${Math.round(crop.h * height)}`;
      said.textContent = `${time.start.toFixed(2)} to ${time.end.toFixed(2)} s · ${(time.end - time.start).toFixed(1)} s · ${size} px`;
    }
    let wait = 0;
    function tell() {
      clearTimeout(wait);
      wait = setTimeout(() => {
        const px = [crop.x * width, crop.y * height, crop.w * width, crop.h * height].map(Math.round);
        px[2] = Math.min(px[2], width - px[0]);
        px[3] = Math.min(px[3], height - px[1]);
        const whole = crop.w > 0.995 && crop.h > 0.995;
        trigger("input", { start: Number(time.start.toFixed(2)), end: total - time.end < 0.02 ? 0 : Number(time.end.toFixed(2)), crop: whole ? "" : px.join(", ") });
      }, 350);
    }
    function resize(handle, dx, dy, from) {
      const least = 24 / Math.min(width, height);
      if (!handle) { crop.x = clamp(from.x + dx, 0, 1 - crop.w); crop.y = clamp(from.y + dy, 0, 1 - crop.h); return; }
      let left = from.x, top = from.y, right = from.x + from.w, bottom = from.y + from.h;
      if (handle.includes("w")) left = clamp(left + dx, 0, right - least);
      if (handle.includes("e")) right = clamp(right + dx, left + least, 1);
      if (handle.includes("n")) top = clamp(top + dy, 0, bottom - least);
      if (handle.includes("s")) bottom = clamp(bottom + dy, top + least, 1);
      Object.assign(crop, { x: left, y: top, w: right - left, h: bottom - top });
    }
    function drag(target, move) {
      target.addEventListener("pointerdown", (down) => {
        down.preventDefault();
        down.stopPropagation();
        target.setPointerCapture(down.pointerId);
        const from = { ...crop }, at = { ...time };
        const moved = (event) => { move(event, down, from, at); paint(); };
        target.addEventListener("pointermove", moved);
        target.addEventListener("pointerup", () => { target.removeEventListener("pointermove", moved); tell(); }, { once: true });
      });
    }
    function set(end, value) {
      const least = Math.min(0.4, total);
      time[end] = end === "start" ? clamp(value, 0, time.end - least) : clamp(value, time.start + least, total);
      video.currentTime = end === "start" ? time.start : Math.max(time.start, time.end - 0.4);
    }
    const share = (event, down) => { const frame = view.getBoundingClientRect(); return [(event.clientX - down.clientX) / frame.width, (event.clientY - down.clientY) / frame.height]; };
    drag(area, (event, down, from) => resize("", ...share(event, down), from));
    for (const handle of area.querySelectorAll("[data-h]")) drag(handle, (event, down, from) => resize(handle.dataset.h, ...share(event, down), from));
    area.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      resize(event.shiftKey ? "se" : "", (step[0] * 4) / width, (step[1] * 4) / height, { ...crop });
      paint();
      tell();
    });
    for (const end of ["start", "end"]) {
      const knob = box.querySelector(`[data-t=${end}]`);
      drag(knob, (event, down, from, at) => set(end, at[end] + ((event.clientX - down.clientX) / rail.getBoundingClientRect().width) * total));
      knob.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -0.1, ArrowRight: 0.1, PageDown: -1, PageUp: 1 }[event.key];
        if (!step) return;
        event.preventDefault();
        set(end, time[end] + step);
        paint();
        tell();
      });
    }
    video.addEventListener("timeupdate", () => {
      if (video.currentTime >= time.end - 0.04 || video.currentTime < time.start - 0.3) { video.currentTime = time.start; video.play().catch(() => {}); }
      now.style.left = `${(100 * video.currentTime) / (total || 1)}%`;
    });
    video.addEventListener("ended", () => { video.currentTime = time.start; video.play().catch(() => {}); });
    video.addEventListener("error", () => { box.querySelector(".missing").hidden = false; });
    paint();
  }

  window.dtsgan = { download, editor, tune, choose, stop, theme, state: () => ({ ...wish, frame: shown, stopped, paused, ready: ready.length, loop: loop.length }) };
})();
