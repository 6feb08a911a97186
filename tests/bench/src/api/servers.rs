//! Both servers, each with what it needs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use enlace_databases::{Kind, Server};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, MySqlConnection};
use tokio::process::Command;
use whatsapp_simulator::{Control, overlaps_by_number};

use crate::calls::{Call, Route};
use crate::process::Process;
use crate::programs::{LIMIT, Program, Says};

/// The tables that the Express server works on.
const SCHEMA: &str = include_str!("../../../compat/schema.sql");
/// The number of the device.
const NUMBER: &str = "525550000001";
/// Enlace lets one token call 400 times at once, and 100 times a second: the requests are spread over so many.
const TOKENS: usize = 100;

/// `enlace standalone`, with one device.
pub(crate) struct Enlace {
    program: Program,
    simulator: Program,
    control: Control,
    address: String,
    http: reqwest::Client,
    data: PathBuf,
    device: String,
    tokens: Vec<String>,
}

/// The Express server and its database.
pub(crate) struct Express {
    program: Program,
    database: Server,
    address: String,
    token: String,
}

impl Enlace {
    /// Starts it and a simulated WhatsApp.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn start(enlace: &Path, simulator: &Path, folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(simulator);
        command.args(["--listen", "127.0.0.1:0"]).env("RUST_LOG", "warn");
        let listens =
            |line: &str| line.strip_prefix("listening on ")?.split_whitespace().next()?.parse().ok();
        let (simulator, whatsapp): (_, SocketAddr) =
            Program::start("whatsapp-simulator", command, Says::OnOutput, listens).await?;
        let devices = folder.join("devices");
        std::fs::create_dir(&devices)?;
        let data = folder.join("data");
        let mut command = Command::new(enlace);
        command.arg("standalone").arg(&devices).arg("--data-dir").arg(&data).current_dir(folder);
        command.args(["--listen", "127.0.0.1:0", "--compatible-registration", "true"]);
        command.stderr(std::fs::File::create(folder.join("enlace.log"))?);
        for name in ["DATABASE_URL", "DB_HOST", "DB_USER", "DB_PASSWORD", "DB_NAME", "DB_PORT", "ENLACE_LOG"]
        {
            command.env_remove(name);
        }
        command.env("ENLACE_WHATSAPP_URL", format!("ws://{whatsapp}/ws/chat"));
        command.env("ENLACE_WHATSAPP_MEDIA_URL", format!("http://{whatsapp}"));
        let listens = |line: &str| line.strip_prefix("Enlace listens on http://").map(str::to_owned);
        let (program, address) = Program::start("enlace", command, Says::OnOutput, listens).await?;
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            anyhow::bail!("another cryptography provider is installed already");
        }
        let http = reqwest::Client::builder().no_proxy().build()?;
        let control = Control::new(format!("http://{whatsapp}"));
        Ok(Self {
            program,
            simulator,
            control,
            address,
            http,
            data,
            device: String::new(),
            tokens: Vec::new(),
        })
    }

    /// Registers somebody, links a device, and makes the tokens.
    ///
    /// # Errors
    /// It is refused.
    pub(crate) async fn link(&mut self) -> anyhow::Result<()> {
        let account = json!({ "numero": NUMBER, "password": "una clave larga" });
        let token = text(&self.call_with("", "POST", "/api/registro", Some(account)).await?, "token")?;
        let added = self.call_with(&token, "POST", "/api/add-device", Some(json!({}))).await?;
        self.device = text(&added, "instancia_id")?;
        let named = format!("/api/qr?instancia_id={}", self.device);
        let admin = std::fs::read_to_string(self.data.join("token"))?.trim().to_owned();
        tokio::time::timeout(LIMIT, async {
            let mut scanned = false;
            loop {
                let shown = self.call_with(&token, "GET", &named, None).await?;
                if shown.get("ready") == Some(&Value::Bool(true)) {
                    return anyhow::Ok(());
                }
                if !scanned && shown.get("hasQr") == Some(&Value::Bool(true)) {
                    let device = self.call_with(&admin, "GET", "/v1/devices", None).await?;
                    let code = device.pointer("/items/0/status/qr/code").and_then(Value::as_str);
                    if let Some(code) = code {
                        self.control.phone(NUMBER).scan(code).await?;
                        scanned = true;
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        })
        .await
        .context("the device does not connect")??;
        for number in 0..TOKENS {
            let made = json!({ "name": format!("bench {number}") });
            let made = self.call_with(&token, "POST", "/v1/tokens", Some(made)).await?;
            self.tokens.push(text(&made, "value")?);
        }
        Ok(())
    }

    pub(crate) fn call(&self, route: Route) -> Call {
        Call::new(&self.address, route, &self.device, &self.tokens)
    }

    pub(crate) fn process(&self) -> anyhow::Result<Process> {
        self.program.id().map(Process)
    }

    /// Ends it, and the simulated WhatsApp when its log of logins has been read.
    ///
    /// # Errors
    /// One of them does not end, or a number had two clients at a time.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.program.stop().await?;
        let pairs = overlaps_by_number(&self.control.server().logins().await?);
        ensure!(pairs.is_empty(), "one number had two clients at a time: {pairs:#?}");
        self.simulator.stop().await
    }

    async fn call_with(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let method = reqwest::Method::from_bytes(method.as_bytes())?;
        let mut request = self.http.request(method, format!("http://{}{path}", self.address));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let (status, text) = (response.status(), response.text().await?);
        ensure!(status.is_success(), "{path} answers {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}

impl Express {
    /// Starts MariaDB, makes the tables, and starts the server.
    ///
    /// # Errors
    /// One of them is not installed, or does not start.
    pub(crate) async fn start(express: &Path, folder: &Path) -> anyhow::Result<Self> {
        let database = Server::start(Kind::MariaDb).await?;
        let url = database.new_database().await?;
        let token = "0123456789abcdef".repeat(4);
        let mut connection = MySqlConnection::connect(&url.replacen("mariadb:", "mysql:", 1)).await?;
        connection.execute(sqlx::raw_sql(SCHEMA)).await?;
        let rows = format!(
            "INSERT INTO usuarios (numero, password, token, nombre) VALUES ('{NUMBER}', '-', '{token}', 'Ana'); \
             INSERT INTO dispositivos_whatsapp (numero, instancia_id, estado, usuario_id) \
             VALUES ('{NUMBER}', 'bench', 'conectado', 1)"
        );
        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(rows))).await?;
        connection.close().await?;
        let url: reqwest::Url = url.parse()?;
        let password = form_urlencoded::parse(format!("p={}", url.password().unwrap_or_default()).as_bytes())
            .map(|(_, value)| value.into_owned())
            .next()
            .unwrap_or_default();
        let mut command = Command::new("node");
        command.arg("server.mjs").current_dir(express).env("NODE_ENV", "production");
        command.env("DB_HOST", "127.0.0.1").env("DB_PORT", database.port().to_string());
        command.env("DB_USER", url.username()).env("DB_PASSWORD", password);
        command.env("DB_NAME", url.path().trim_start_matches('/'));
        command.stderr(std::fs::File::create(folder.join("express.log"))?);
        let listens = |line: &str| line.strip_prefix("listening on ")?.parse::<u16>().ok();
        let (program, port) = Program::start("the Express server", command, Says::OnOutput, listens).await?;
        Ok(Self { program, database, address: format!("127.0.0.1:{port}"), token })
    }

    pub(crate) fn call(&self, route: Route) -> Call {
        Call::new(&self.address, route, "bench", std::slice::from_ref(&self.token))
    }

    pub(crate) fn process(&self) -> anyhow::Result<Process> {
        self.program.id().map(Process)
    }

    /// The database's process.
    pub(crate) fn database(&self) -> anyhow::Result<Process> {
        self.database.id().map(Process).context("the database has ended")
    }
}

fn text(answer: &Value, field: &str) -> anyhow::Result<String> {
    let found = answer.get(field).and_then(Value::as_str);
    Ok(found.with_context(|| format!("an answer without {field}: {answer}"))?.to_owned())
}
