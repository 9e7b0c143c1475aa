// The page of one console: noVNC's RFB on the WebSocket that the address names.
import RFB from "./novnc/core/rfb.js";

const say = (text) => { document.getElementById("status").textContent = text; };
const path = new URLSearchParams(location.search).get("path") || "";
const url = (location.protocol === "https:" ? "wss://" : "ws://") + location.host + "/" + path.replace(/^\//, "");

const rfb = new RFB(document.getElementById("screen"), url, { wsProtocols: ["binary"] });
rfb.scaleViewport = true;
rfb.addEventListener("connect", () => say("connected to " + (rfb._fbName || "the server")));
rfb.addEventListener("disconnect", (e) => say(e.detail.clean ? "disconnected: ask for a new console" : "the console cannot be reached: its address is good once, ask for a new one"));
rfb.addEventListener("desktopname", (e) => say("connected to " + e.detail.name));
document.getElementById("keys").addEventListener("click", () => rfb.sendCtrlAltDel());
