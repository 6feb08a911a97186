//! What a handler takes: the caller, fields of a query, fields of a body.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, OptionalFromRequestParts, Request};
use futures::{StreamExt as _, TryStreamExt as _};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::Room;
use super::answers::{INTERNAL, Refusal};
use crate::auth::{Action, Principal, TokenValue};
use crate::directory::Device;
use crate::http::{App, MAX_BODY};
use enlace_crds::names;

/// The largest body of JSON of a caller with a token, in bytes: 25 MB, as clients know it.
pub const MAX_JSON: usize = 25 * 1024 * 1024;
/// The most values of a body: what somebody sells has many lines, and each is a map in memory.
pub(super) const MAX_VALUES: usize = 100_000;
/// How long a body may take to arrive: 25 MB over a slow line.
const LONGEST: Duration = Duration::from_secs(120);
/// How fast it must come, in bytes a second: what does not come holds no place for long.
const PACE: f64 = 64.0 * 1024.0;
/// How long it may take beside. Less than [`TURN`]: who waits gets the place of what does not come.
const GRACE: Duration = Duration::from_secs(7);
/// How long a large body waits for its turn.
const TURN: Duration = Duration::from_secs(10);
/// How much of a body that is too large is read and thrown away, so that its sender gets to read the answer.
const THROWN_AWAY: usize = 64 * 1024 * 1024;

/// The caller, known by a token.
#[derive(Clone, Debug)]
pub struct SeedUser {
    principal: Principal,
}

impl SeedUser {
    /// The user's identifier.
    pub fn id(&self) -> &str {
        &self.principal.user.id
    }

    /// Who calls.
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// What the caller needs to go on.
    ///
    /// # Errors
    /// When its token does not allow it.
    pub fn needs(&self, action: Action) -> Result<(), Refusal> {
        if self.principal.may(action) { Ok(()) } else { Err(Refusal::forbidden()) }
    }

    /// Whether a device is the caller's own. An administrator sees its own here as well, and all of them through the REST API.
    pub fn owns(&self, device: &Device) -> bool {
        let labels = device.resource.metadata.labels.as_ref();
        let own = labels.and_then(|labels| labels.get(names::OWNER)) == Some(&self.principal.user.id);
        own && self.principal.sees(device)
    }

    /// The caller of a request: none without a token.
    ///
    /// # Errors
    /// When the token is not good, when it calls too often, or when the database fails.
    pub async fn of(
        app: &App,
        headers: &HeaderMap,
        address: Option<SocketAddr>,
    ) -> Result<Option<Self>, Refusal> {
        match token(headers) {
            Some(token) => Self::of_value(app, token, address).await.map(Some),
            None => {
                app.limits().address(address)?;
                Ok(None)
            }
        }
    }

    /// The caller of a token's value.
    ///
    /// # Errors
    /// When the token is not good, when it calls too often, or when the database fails.
    pub async fn of_value(app: &App, token: &str, address: Option<SocketAddr>) -> Result<Self, Refusal> {
        Self::of_good_value(app, token, address).await?.ok_or_else(Refusal::bad_token)
    }

    /// The same; none when the token is not good.
    async fn of_good_value(
        app: &App,
        token: &str,
        address: Option<SocketAddr>,
    ) -> Result<Option<Self>, Refusal> {
        let principal = match TokenValue::parse(token) {
            Some(token) => Principal::of_token(app.database(), &token, Timestamp::now()).await?,
            None => None,
        };
        let Some(principal) = principal else {
            app.limits().address(address)?;
            return Ok(None);
        };
        app.limits().token(&principal.token.id)?;
        Ok(Some(Self { principal }))
    }
}

impl FromRequestParts<App> for SeedUser {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let user = Self::of(app, &parts.headers, address(parts)).await?.ok_or_else(Refusal::no_token)?;
        // The body that follows is this user's.
        parts.extensions.insert(user.clone());
        Ok(user)
    }
}

impl OptionalFromRequestParts<App> for SeedUser {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Option<Self>, Refusal> {
        Self::of(app, &parts.headers, address(parts)).await
    }
}

/// The caller, when it showed a token, of a route that looked at none before: whether it shows one or not, a lost database is told with
/// the text that clients of that route know.
#[derive(Clone, Debug)]
pub struct Anyone(pub Option<SeedUser>);

impl FromRequestParts<App> for Anyone {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let user = SeedUser::of(app, &parts.headers, address(parts)).await;
        user.map(Self).map_err(|refusal| refusal.database_said(INTERNAL))
    }
}

/// The caller of a route that needs no token and never looked at one before: a token that is not good is none, for clients may still send
/// an old one.
#[derive(Clone, Debug)]
pub struct Guest(pub Option<SeedUser>);

impl FromRequestParts<App> for Guest {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let address = address(parts);
        let user = match token(&parts.headers) {
            Some(token) => SeedUser::of_good_value(app, token, address).await,
            None => app.limits().address(address).map(|()| None).map_err(Refusal::from),
        };
        user.map(Self).map_err(|refusal| refusal.database_said(INTERNAL))
    }
}

/// The token of a request: the second word, whatever the first one is, since clients write `Token …` as well.
fn token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.split(' ').nth(1).filter(|token| !token.is_empty())
}

/// Where the caller is, when that is known.
pub fn address(parts: &Parts) -> Option<SocketAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}

/// The fields of a query or of a body.
#[derive(Clone, Debug)]
pub struct Fields {
    map: Map<String, Value>,
    absent: bool,
}

impl Fields {
    /// Of a body of JSON.
    pub const fn new(map: Map<String, Value>) -> Self {
        Self { map, absent: false }
    }

    /// Of no body.
    pub(super) fn absent() -> Self {
        Self { map: Map::new(), absent: true }
    }

    /// Of a query string. A field that is repeated is refused when it is read.
    pub fn of_query(query: Option<&str>) -> Self {
        let mut map = Map::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let value = Value::String(value.into_owned());
            match map.get_mut(name.as_ref()) {
                None => drop(map.insert(name.into_owned(), value)),
                Some(Value::Array(values)) => values.push(value),
                Some(one) => *one = Value::Array(vec![one.take(), value]),
            }
        }
        Self::new(map)
    }

    /// Takes a value out: one that is large need not be there twice.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name)
    }

    /// A value as it came; none for `null`.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Whether there was nothing at all: no body, or one of another type than JSON.
    pub const fn is_absent(&self) -> bool {
        self.absent
    }

    /// Whether a value counts as true in JavaScript.
    pub fn truthy(&self, name: &str) -> bool {
        match self.value(name) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(value)) => *value,
            Some(Value::Number(number)) => number.as_f64() != Some(0.0),
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(_) | Value::Object(_)) => true,
        }
    }

    /// A text; none when it is absent, `null` or empty.
    ///
    /// # Errors
    /// When it is something else than a text, as when a parameter is repeated.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(Refusal::bad_request(format!("El campo {name} debe ser un texto"))),
        }
    }

    /// A text, or an integer as its digits: programs send numbers of phones as both.
    ///
    /// # Errors
    /// When it is something else.
    pub fn text_or_integer(&self, name: &str) -> Result<Option<String>, Refusal> {
        match self.value(name).and_then(Value::as_u64) {
            Some(number) => Ok(Some(number.to_string())),
            None => Ok(self.text(name)?.map(str::to_owned)),
        }
    }

    /// The first text among several fields.
    ///
    /// # Errors
    /// When one of them before it is no text.
    pub fn first_text(&self, names: &[&str]) -> Result<Option<&str>, Refusal> {
        for name in names {
            if let Some(text) = self.text(name)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// The first text among several fields, or integer as its digits.
    ///
    /// # Errors
    /// When one of them before it is neither.
    pub fn first_text_or_integer(&self, names: &[&str]) -> Result<Option<String>, Refusal> {
        for name in names {
            if let Some(text) = self.text_or_integer(name)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }
}

/// The fields of a query string.
#[derive(Clone, Debug)]
pub struct Query(pub Fields);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(Fields::of_query(parts.uri.query())))
    }
}

/// The fields of a JSON body of a caller without a token: a small one. No body, or another type, has no fields.
#[derive(Clone, Debug)]
pub struct SmallBody(pub Fields);

impl FromRequest<App> for SmallBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &App) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        fields(&parts.headers, body, MAX_BODY).await.map(Self)
    }
}

/// The fields of a JSON body, up to [`MAX_JSON`]. It comes after the caller: nobody unknown has that much read.
#[derive(Clone, Debug)]
pub struct LargeBody(pub Fields);

impl FromRequest<App> for LargeBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let turn = room_for_body(app, &parts, body.size_hint().upper()).await?;
        let fields = fields(&parts.headers, body, MAX_JSON).await;
        drop(turn);
        fields.map(Self)
    }
}

/// Room for a body of the caller that has so many bytes at most, so that a few large ones do not take all memory; none for a small one, which waits for no others.
///
/// # Errors
/// When it does not come in time.
pub(super) async fn room_for_body(
    app: &App,
    parts: &Parts,
    most: Option<u64>,
) -> Result<Option<Room>, Refusal> {
    if most.is_some_and(|most| most <= MAX_BODY as u64) {
        return Ok(None);
    }
    // A route that reads a body without knowing its caller would be a mistake here.
    let user = parts.extensions.get::<SeedUser>().ok_or_else(Refusal::internal)?;
    room(app, user).await.map(Some)
}

/// Room for what is large, when its turn comes: the user's own first, so that what waits for it holds no place of others.
///
/// # Errors
/// When it does not come in time.
pub(super) async fn room(app: &App, user: &SeedUser) -> Result<Room, Refusal> {
    let own = tokio::time::timeout(TURN, app.shares().large_body(user.id())).await;
    let many = || {
        let error = "Demasiados envíos a la vez de este usuario, intente de nuevo";
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, "TooManyBodies", error).retry_after(5)
    };
    let own = own.map_err(|_| many())?.ok_or_else(Refusal::internal)?;
    let among_all = tokio::time::timeout(TURN, app.seed().large_bodies.clone().acquire_owned()).await;
    let busy = || Refusal::unavailable("Servidor ocupado, intente de nuevo", 5);
    Ok((own, among_all.map_err(|_| busy())?.map_err(|_| Refusal::internal())?))
}

/// Reads a body as fast as it must come.
///
/// # Errors
/// When it is slower, or as `read` says.
pub(super) async fn paced<T, F>(body: Body, read: impl FnOnce(Body) -> F) -> Result<T, Refusal>
where
    F: Future<Output = Result<T, Refusal>>,
{
    let (start, come) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&come);
    let counted = body.into_data_stream().inspect_ok(move |bytes| {
        count.fetch_add(bytes.len(), Ordering::Relaxed);
    });
    let too_slow = async {
        loop {
            let most = GRACE.as_secs_f64() + come.load(Ordering::Relaxed) as f64 / PACE;
            let due = start + Duration::from_secs_f64(most).min(LONGEST);
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    };
    tokio::select! {
        biased;
        read = read(Body::from_stream(counted)) => read,
        () = too_slow => {
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "BodyTooSlow", "El cuerpo no llegó a tiempo").with_time())
        }
    }
}

async fn fields(headers: &HeaderMap, body: Body, limit: usize) -> Result<Fields, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Ok(Fields::absent());
    }
    of_json(&paced(body, |body| whole(headers, body, limit)).await?)
}

/// The fields of a text of JSON.
pub(super) fn of_json(bytes: &[u8]) -> Result<Fields, Refusal> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    if bytes.is_empty() {
        return Ok(Fields::absent());
    }
    if too_many_values(bytes) {
        let error = "El cuerpo tiene demasiados campos";
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "BodyTooLarge", error).with_time());
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => Ok(Fields::new(fields)),
        // Express takes an array as well; it has no fields.
        Ok(Value::Array(_)) => Ok(Fields::new(Map::new())),
        Ok(_) | Err(_) => Err(Refusal::bad_request("El cuerpo no es JSON válido").with_time()),
    }
}

/// Whether a text of JSON has more than [`MAX_VALUES`]. Two bytes are enough for a value that takes dozens in memory.
fn too_many_values(bytes: &[u8]) -> bool {
    let (mut values, mut quoted, mut escaped) = (0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b',' | b'[' | b'{' if !quoted => values += 1,
            _ => {}
        }
        if values > MAX_VALUES {
            return true;
        }
    }
    false
}

/// The bytes of a body within a limit.
///
/// # Errors
/// When it is larger, or breaks off.
pub async fn whole(headers: &HeaderMap, body: Body, limit: usize) -> Result<bytes::Bytes, Refusal> {
    let too_large = || {
        let error = format!("El cuerpo supera el límite de {limit} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "BodyTooLarge", error).with_time()
    };
    if content_length(headers).is_some_and(|length| length > limit) {
        throw_away(body).await;
        return Err(too_large());
    }
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Refusal::bad_request("El cuerpo no llegó completo").with_time()),
    }
}

/// A sender that is still sending may not read an answer before it has sent everything.
async fn throw_away(body: Body) {
    let mut left = THROWN_AWAY;
    let mut data = body.into_data_stream();
    while let Some(Ok(bytes)) = data.next().await {
        left = left.saturating_sub(bytes.len());
        if left == 0 {
            return;
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse as _;
    use serde_json::json;

    fn of(value: Value) -> Fields {
        Fields::new(value.as_object().unwrap().clone())
    }

    /// A body of parts that come a second apart, and does not end.
    fn parts(count: usize, size: usize) -> Body {
        let parts = futures::stream::iter(0..count).then(move |_| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, std::io::Error>(vec![b' '; size])
        });
        Body::from_stream(parts.chain(futures::stream::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_holds_its_place_for_less_than_others_wait() {
        let whole = |body: Body| async { Ok(body.collect().await.unwrap().to_bytes().len()) };
        for (count, size, seconds) in [(0, 0, 7.0), (5, 1, 7.0), (30, 64 * 1024, 37.0), (200, 1 << 20, 120.0)]
        {
            let start = Instant::now();
            let refused = paced(parts(count, size), whole).await.unwrap_err();
            assert_eq!(refused.into_response().status(), StatusCode::REQUEST_TIMEOUT);
            let took = start.elapsed().as_secs_f64();
            assert!((took - seconds).abs() < 0.1, "{count} parts of {size} bytes: {took}");
        }
        let slow = Body::from_stream(parts(60, 64 * 1024).into_data_stream().take(60));
        assert_eq!(paced(slow, whole).await.unwrap(), 60 * 64 * 1024);
    }

    #[test]
    fn a_body_has_a_bounded_number_of_values_and_long_texts() {
        let zeros = |count: usize| format!("{{\"a\":[{}0]}}", "0,".repeat(count));
        assert!(of_json(zeros(MAX_VALUES - 2).as_bytes()).is_ok());
        assert!(of_json(zeros(MAX_VALUES - 1).as_bytes()).is_err());
        let text = json!({ "message": ",[{\\\"".repeat(MAX_VALUES) }).to_string();
        assert!(of_json(text.as_bytes()).is_ok());
        assert!(of_json(format!("{text}]").as_bytes()).is_err());
    }

    #[test]
    fn a_repeated_parameter_is_no_text() {
        let fields = Fields::of_query(Some("numero=a&numero=b&otro=%27%20OR%201%3D1--%20"));
        assert!(fields.text("numero").is_err());
        assert_eq!(fields.text("otro").unwrap(), Some("' OR 1=1-- "));
        assert_eq!(fields.text("ninguno").unwrap(), None);
    }

    #[test]
    fn objects_are_no_texts() {
        let fields = of(json!({ "identifier": { "numero": 1 }, "empty": "", "null": null, "number": 51 }));
        assert!(fields.text("identifier").is_err());
        assert!(fields.text("number").is_err());
        assert_eq!(fields.text("empty").unwrap(), None);
        assert_eq!(fields.text("null").unwrap(), None);
        assert_eq!(fields.text_or_integer("number").unwrap().as_deref(), Some("51"));
        assert!(fields.text_or_integer("identifier").is_err());
    }

    #[test]
    fn truth_is_javascripts() {
        let fields = of(json!({ "a": true, "b": "false", "c": "", "d": 0, "e": 1, "f": null, "g": false }));
        let truthy = |name| fields.truthy(name);
        assert_eq!(
            ["a", "b", "c", "d", "e", "f", "g", "h"].map(truthy),
            [true, true, false, false, true, false, false, false]
        );
    }
}
