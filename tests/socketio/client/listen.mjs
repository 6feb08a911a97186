// Connects as a program or a page does, and writes what happens, a line of JSON each.
//
// node listen.mjs URL OPTIONS: the options are those of socket.io-client, as JSON; without them its defaults count (polling, then an
// upgrade to a WebSocket).
import { io } from "socket.io-client";

const [url, options = "{}"] = process.argv.slice(2);
const tell = (event, data) => console.log(JSON.stringify({ event, data }));
const socket = io(url, JSON.parse(options));

socket.io.on("open", () => {
  const engine = socket.io.engine;
  tell("open", engine.transport.name);
  // By the time of "connect" it may have happened already.
  engine.once("upgrade", (transport) => tell("upgrade", transport.name));
});
socket.on("connect", () => tell("connect", null));
socket.on("connect_error", (error) => {
  const context = error.context?.responseText;
  tell("connect_error", { message: error.message, answer: context ?? null });
});
socket.on("disconnect", (reason) => tell("disconnect", reason));
socket.onAny((event, data) => tell(event, data));
