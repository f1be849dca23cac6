// The scanning page: pairs by the link's token, reads codes with the camera, and shows the bench's answers.
// Text of labels and of the bench is shown as text only.
"use strict";

const FORMATS = ["DataMatrix", "QRCode", "MicroQRCode", "Code128", "DataBar"];
const FRAME_PAUSE = 60; // milliseconds between two readings of the picture
const FRAMES_WITHOUT_CODE = 8; // after which the same label may be read again
const ANSWER_WITHIN = 75_000; // milliseconds; the bench itself gives up earlier

const element = (id) => document.getElementById(id);
const video = element("video");
const canvas = document.createElement("canvas");
const pixels = canvas.getContext("2d", { willReadFrequently: true });
const counts = { ok: 0, fail: 0 };

let audio = null;
let stream = null;
let asking = false;
let candidate = null; // read in the last frame
let sent = null; // what the label in view was answered for
let empty = 0;

const show = (state, word, device, note) => {
  element("verdict").dataset.state = state;
  element("word").textContent = word;
  element("device").textContent = device;
  element("note").textContent = note;
};

// A text that is shown already is not said again.
const idle = (note) => {
  if (element("note").textContent !== note) show("idle", "Ready", "", note);
};

// One high tone for OK, three low ones for FAIL.
const sound = (state) => {
  if (!audio || !element("sound").checked) return;
  const [frequency, times] = state === "ok" ? [1320, 1] : [220, 3];
  for (let index = 0; index < times; index += 1) {
    const from = audio.currentTime + index * 0.25;
    const tone = audio.createOscillator();
    tone.type = state === "ok" ? "sine" : "square";
    tone.frequency.value = frequency;
    tone.connect(audio.destination);
    tone.start(from);
    tone.stop(from + 0.15);
  }
};

const verdict = (state, device, note, repeated = false) => {
  if (!repeated) counts[state] += 1;
  element("accepted").textContent = String(counts.ok);
  element("refused").textContent = String(counts.fail);
  show(state, state === "ok" ? "✓ OK" : "✗ FAIL", device, note);
  sound(state);
  navigator.vibrate?.(state === "ok" ? 100 : [200, 100, 200, 100, 200]);
};

const post = (path, body) =>
  fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    redirect: "error",
    signal: AbortSignal.timeout(ANSWER_WITHIN),
  });

const detailOf = async (response) => {
  const problem = await response.json().catch(() => ({}));
  return typeof problem.detail === "string" ? problem.detail : `The bench answered ${response.status}.`;
};

const enrol = async (code) => {
  if (asking) return;
  asking = true;
  show("idle", "Wait", "", "The bench checks the device.");
  try {
    const response = await post("/codes", { code });
    if (response.status === 200) {
      const answer = await response.json();
      const state = answer.verdict === "ok" ? "ok" : "fail";
      verdict(state, String(answer.device), String(answer.note), answer.repeated === true);
    } else {
      verdict("fail", "", await detailOf(response));
    }
  } catch {
    verdict("fail", "", "The bench does not answer. Does the command still run? Show the label again.");
  } finally {
    asking = false;
  }
};

const readFrame = async () => {
  const side = Math.min(video.videoWidth, video.videoHeight);
  if (!side) return [];
  canvas.width = side;
  canvas.height = side;
  pixels.drawImage(
    video, (video.videoWidth - side) / 2, (video.videoHeight - side) / 2, side, side, 0, 0, side, side,
  );
  const found = await ZXingWASM.readBarcodes(pixels.getImageData(0, 0, side, side), {
    formats: FORMATS,
    maxNumberOfSymbols: 4,
    textMode: "Plain",
    tryHarder: true,
  });
  // The symbology identifier tells the bench which codes are GS1 labels.
  return [...new Set(found.filter((one) => one.isValid).map((one) => one.symbologyIdentifier + one.text))];
};

// A code counts when two frames in a row agree, and once for as long as its label is in view.
const take = (codes) => {
  if (codes.length > 1) {
    candidate = null;
    empty = 0;
    idle("More than one code is in view. Cover the others or move closer.");
    return;
  }
  if (!codes.length) {
    empty += 1;
    if (empty >= FRAMES_WITHOUT_CODE) sent = null;
    candidate = null;
    return;
  }
  empty = 0;
  const [code] = codes;
  if (code === candidate && code !== sent) {
    sent = code;
    enrol(code);
  }
  candidate = code;
};

const watch = async () => {
  while (stream?.active) {
    if (!asking && !document.hidden) {
      try {
        take(await readFrame());
      } catch {
        stop("The barcode reader could not be loaded. Type the code.");
      }
    }
    await new Promise((resolve) => setTimeout(resolve, FRAME_PAUSE));
  }
};

const stop = (note) => {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  element("camera").hidden = true;
  element("start").hidden = false;
  idle(note);
};

const allowSound = () => {
  audio ??= new AudioContext();
  audio.resume();
};

const CAMERA_FAULTS = {
  NotAllowedError: "The browser does not let this page use the camera. Allow it in the browser's settings, or type the code.",
  NotFoundError: "This phone has no camera that the browser may use. Type the code.",
  NotReadableError: "Another app uses the camera. Close it, or type the code.",
};

const start = async () => {
  allowSound();
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { facingMode: "environment", width: { ideal: 1920 }, height: { ideal: 1080 } },
    });
    video.srcObject = stream;
    await video.play();
  } catch (error) {
    stop(CAMERA_FAULTS[error.name] ?? "The camera does not start. Type the code.");
    return;
  }
  stream.getVideoTracks()[0].addEventListener("ended", () => stop("The camera has stopped."));
  element("start").hidden = true;
  element("camera").hidden = false;
  idle("Hold a label so that it fills the square.");
  stayAwake();
  watch();
};

const stayAwake = () => {
  if (stream && !document.hidden) navigator.wakeLock?.request("screen").catch(() => {});
};

const pair = async () => {
  const token = location.hash.slice(1);
  // The token stays in no address bar and no history.
  history.replaceState(null, "", "/");
  try {
    const response = await (token ? post("/claim", { token }) : fetch("/session", { redirect: "error" }));
    if (response.status !== 204) {
      show("fail", "Not paired", "", await detailOf(response));
      return;
    }
  } catch {
    show("fail", "Not paired", "", "The bench does not answer. Does the command still run?");
    return;
  }
  element("paired").hidden = false;
  idle("Start the camera, or type a code.");
};

element("start").addEventListener("click", start);
element("typed").addEventListener("submit", (event) => {
  event.preventDefault();
  allowSound();
  const field = element("code");
  const code = field.value.trim();
  if (code && !asking) {
    field.value = "";
    enrol(code);
  }
  field.focus();
});
document.addEventListener("visibilitychange", stayAwake);
ZXingWASM.prepareZXingModule({ overrides: { locateFile: (name) => `/${name}` } });
pair();
