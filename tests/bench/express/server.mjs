// The work of the system whose API Enlace answers, for three routes: look a token up, look a device up, store a message, on Express and
// mysql2 with a pool of ten connections. It sends nothing to WhatsApp: what that costs is not in its figures.
//
// node server.mjs: DB_HOST, DB_USER, DB_PASSWORD, DB_NAME and DB_PORT say where the database is; the port is the first line of the output.
import express from "express";
import mysql from "mysql2/promise";

const pool = mysql.createPool({
  host: process.env.DB_HOST,
  user: process.env.DB_USER,
  password: process.env.DB_PASSWORD,
  database: process.env.DB_NAME,
  port: Number(process.env.DB_PORT),
  waitForConnections: true,
  connectionLimit: 10,
  connectTimeout: 5000,
});

// States of clients, which are in memory.
const clients = new Map([["bench", { ready: true, state: "CONNECTED" }]]);

const app = express();
app.use(express.json({ limit: "25mb" }));
app.use((request, _response, next) => {
  console.log(`${new Date().toISOString()} - ${request.method} ${request.path}`);
  next();
});

async function authenticated(request, response, next) {
  const token = request.headers.authorization?.split(" ")[1];
  if (!token) return response.status(401).json({ error: "No autorizado" });
  const [rows] = await pool.query("SELECT id, numero, email, nombre FROM usuarios WHERE token = ?", [token]);
  if (rows.length === 0) return response.status(401).json({ error: "Token inválido o expirado" });
  request.user = rows[0];
  next();
}

app.get("/api/health", async (_request, response) => {
  await pool.query("SELECT 1");
  response.json({
    ok: true,
    db: true,
    uptime: process.uptime(),
    memory: process.memoryUsage(),
    timestamp: new Date().toISOString(),
  });
});

app.get("/api/status", authenticated, async (request, response) => {
  const id = request.query.instancia_id;
  const [rows] = await pool.query(
    "SELECT instancia_id FROM dispositivos_whatsapp WHERE instancia_id = ? OR numero = ? LIMIT 1",
    [id, id],
  );
  if (rows.length === 0) return response.json({ ready: false, state: "NONE" });
  const client = clients.get(rows[0].instancia_id);
  response.json({ ready: client.ready, state: client.state, instancia_id: rows[0].instancia_id });
});

app.post("/api/send-message", authenticated, async (request, response) => {
  const { number, message, fromNumber } = request.body;
  if (!number) return response.status(400).json({ error: "Número de destino requerido" });
  const from = fromNumber ?? request.user.numero;
  const [devices] = await pool.query(
    "SELECT instancia_id FROM dispositivos_whatsapp WHERE numero = ? OR instancia_id = ? LIMIT 1",
    [from, from],
  );
  if (devices.length === 0) return response.status(404).json({ error: "Dispositivo no encontrado para envío" });
  const [result] = await pool.query(
    "INSERT INTO cola_mensajes (instancia_id, numero_destino, mensaje, tipo, from_number, estado) VALUES (?, ?, ?, 'texto', ?, 'pendiente')",
    [devices[0].instancia_id, number, message, from],
  );
  response.json({ success: true, queue_id: result.insertId, message: "Mensaje encolado", from });
});

const server = app.listen(0, "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
