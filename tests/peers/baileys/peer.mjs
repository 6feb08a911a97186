// A Baileys that does what it is told: a command in each line of its input, what happens in each of its output.
//
// node peer.mjs WEBSOCKET ROOT_KEY FOLDER: the root key of the server's certificates in hex, and the folder of the
// session.
import https from "node:https";
import net from "node:net";
import readline from "node:readline";
import makeWASocket, {
  DisconnectReason, downloadMediaMessage, isJidGroup, jidNormalizedUser, proto, useMultiFileAuthState,
  WA_CERT_DETAILS,
} from "baileys";

const [waWebSocketUrl, rootKey, folder] = process.argv.slice(2);
// Baileys checks the chain of certificates against this one.
WA_CERT_DETAILS.PUBLIC_KEY = Buffer.from(rootKey, "hex");

// Files go to https; the simulator speaks no TLS.
const plain = new https.Agent();
plain.createConnection = (options, connected) => net.connect(options, connected);
const { fetch } = globalThis;
globalThis.fetch = (url, options) => fetch(String(url).replace("https://", "http://"), options);

const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
// Its libsignal writes to the output.
console.log = console.info = console.error;
const complain = (about, text) => console.error(text ?? "", about);
const logger = {
  level: "warn", child: () => logger, trace() {}, debug() {}, info() {}, warn: complain, error: complain,
};
const jidOf = (to) => (to.includes("@") ? to : `${to}@s.whatsapp.net`);
const REASONS = {
  [DisconnectReason.loggedOut]: "logged out",
  [DisconnectReason.connectionReplaced]: "replaced",
  [DisconnectReason.restartRequired]: "restart",
};
const { DELIVERY_ACK, READ } = proto.WebMessageInfo.Status;
const RECEIPTS = { [DELIVERY_ACK]: "delivered", [READ]: "read" };

const { state, saveCreds } = await useMultiFileAuthState(folder);
const messages = new Map();
let sending = Promise.resolve();
let socket;

const commands = {
  connect() {
    // For those who could not read one and ask again, which may be before it counts as sent.
    const getMessage = ({ id }) => sending.then(() => messages.get(id)?.message);
    socket = makeWASocket({
      waWebSocketUrl, auth: state, logger, getMessage, fetchAgent: plain, emitOwnEvents: false,
    });
    socket.ev.on("creds.update", async (update) => {
      await saveCreds();
      if (update.me?.name) tell({ event: "name", name: update.me.name });
    });
    socket.ev.on("connection.update", updated);
    socket.ev.on("messaging-history.set", ({ chats }) => tell({ event: "history", chats: chats.length }));
    socket.ev.on("messages.upsert", (upsert) => upsert.messages.forEach(received));
    socket.ev.on("messages.update", (updates) => {
      for (const { key, update } of updates) {
        if (RECEIPTS[update.status]) tell({ event: "receipt", id: key.id, kind: RECEIPTS[update.status] });
      }
    });
  },
  disconnect: () => socket?.end(undefined),
  "pairing-code": ({ number }) => socket.requestPairingCode(number),
  known: async ({ number }) => Boolean((await socket.onWhatsApp(number))[0]?.exists),
  "send-text": ({ to, text }) => send(to, { text }),
  "send-document": ({ to, name, bytes }) =>
    send(to, { document: Buffer.from(bytes, "base64"), fileName: name, mimetype: "text/plain" }),
  download: async ({ id }) => (await downloadMediaMessage(messages.get(id), "buffer", {})).toString("base64"),
  read: ({ id }) => socket.readMessages([messages.get(id).key]),
  "set-name": ({ name }) => socket.updateProfileName(name),
  "create-group": async ({ subject, members }) => (await socket.groupCreate(subject, members.map(jidOf))).id,
  group: async ({ id }) => described(await socket.groupMetadata(id)),
  groups: async () => Object.values(await socket.groupFetchAllParticipating()).map(described),
};

function send(to, content) {
  const sent = socket.sendMessage(jidOf(to), content).then((message) => {
    messages.set(message.key.id, message);
    return message.key.id;
  });
  sending = sent.catch(() => {});
  return sent;
}

function described({ id, subject, participants }) {
  return { id, subject, members: participants.map((member) => member.id).sort() };
}

function updated({ connection, qr, lastDisconnect }) {
  if (qr) tell({ event: "qr", text: qr });
  if (connection === "open") tell({ event: "open", jid: state.creds.me.id, lid: state.creds.me.lid });
  if (connection !== "close") return;
  // By command.
  if (!lastDisconnect.error) return;
  const code = lastDisconnect.error.output?.statusCode;
  const reason = REASONS[code] ?? "lost";
  tell({ event: "closed", reason, code });
  // As a program with Baileys does.
  if (reason === "restart" || code === DisconnectReason.connectionClosed) commands.connect();
}

function received(message) {
  const { key, pushName, message: content } = message;
  const document = content?.documentMessage;
  const text = content?.conversation || content?.extendedTextMessage?.text;
  if (!text && !document) return;
  messages.set(key.id, message);
  tell({
    event: "message", id: key.id, chat: key.remoteJid, own: key.fromMe, name: pushName,
    sender: isJidGroup(key.remoteJid) ? jidNormalizedUser(key.participant) : null,
    text: text ?? null, file: document?.fileName ?? null,
  });
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { command, ...asked } = JSON.parse(line);
  try {
    tell({ answer: (await commands[command](asked)) ?? null });
  } catch (error) {
    tell({ error: error.stack });
  }
}
// Its timers would keep the program for half a minute.
await saveCreds();
process.exit();
