//! A mode from its first entry to its last.

use anyhow::Context as _;
use serde_json::Value;

use crate::ask::Answer;
use crate::decided::{Decided, Decisions};
use crate::golden::{Pair, Step};
use crate::live::{self, Listener};
use crate::matching::{Comparison, Found, Strictness};
use crate::names::Names;
use crate::play::Player;
use crate::world::{Programs, World};

/// What is said of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Word {
    /// The answer is the recorded one.
    Same,
    /// It has more fields.
    Superset,
    /// It is the one that was decided.
    Decided,
    /// What it needs is not installed.
    Skipped,
    /// It is neither.
    Fail,
}

/// A pair and what is said of it.
pub(crate) struct Verdict {
    pub(crate) word: Word,
}

/// Replays a mode.
///
/// # Errors
/// A program does not start, or something that must happen does not.
pub(crate) async fn mode(
    programs: &Programs,
    mode: &str,
    steps: &[Step],
    decided: &Decisions,
) -> anyhow::Result<Vec<Verdict>> {
    let world = World::start(programs, mode).await?;
    let listens = steps.iter().any(|step| matches!(step, Step::Pair(pair) if is_live(pair)));
    let mut run = Run {
        mode,
        world,
        names: Names::default(),
        player: Player::default(),
        listener: None,
        listens,
        verdicts: Vec::new(),
    };
    for (at, step) in steps.iter().enumerate() {
        run.step(step, decided).await.with_context(|| format!("entry {at} of the mode: {step:?}"))?;
    }
    run.world.stop().await?;
    Ok(run.verdicts)
}

struct Run<'a> {
    mode: &'a str,
    world: World,
    names: Names,
    player: Player,
    listener: Option<Listener>,
    listens: bool,
    verdicts: Vec<Verdict>,
}

impl Run<'_> {
    async fn step(&mut self, step: &Step, decided: &Decisions) -> anyhow::Result<()> {
        match step {
            Step::Pair(pair) if is_live(pair) => {
                let mut pair = (**pair).clone();
                pair.response.body = live::recorded(&pair.response.body);
                let noted = |listener: &Listener| listener.noted(&pair.response.body);
                let events = self.listener.as_ref().map_or(Value::Null, noted);
                let answer = Answer { status: 101, headers: pair.response.headers.clone(), body: events };
                self.judge(&pair, &answer, decided).await
            }
            Step::Pair(pair) => {
                let answer = self.world.asker.recorded(&pair.request, &self.names).await?;
                self.judge(pair, &answer, decided).await?;
                self.after(&pair.request.path).await
            }
            Step::Perform { perform, capture } => {
                let answer = self.world.asker.recorded(perform, &self.names).await?;
                for (field, name) in capture {
                    // An answer without it holds to what was captured before.
                    if let Some(value) = answer.body.get(field).and_then(Value::as_str) {
                        self.names.set(name, value);
                    }
                }
                self.after(&perform.path).await
            }
            Step::Happens(action) => self.player.play(&mut self.world, action, &self.names).await,
        }
    }

    /// What a recording takes for granted after a request.
    async fn after(&mut self, path: &str) -> anyhow::Result<()> {
        if path == "/api/add-device" && !World::reaches_whatsapp(self.mode) && self.world.database.is_none() {
            Player::settle(&self.world).await?;
        }
        if self.listens
            && self.listener.is_none()
            && let Some(token) = self.names.any_token()
        {
            match Listener::connect(&self.world.base, token).await {
                Ok(listener) => self.listener = Some(listener),
                Err(error) => {
                    println!("  the live events are not heard: {error:#}");
                    self.listens = false;
                }
            }
        }
        Ok(())
    }

    async fn judge(&mut self, pair: &Pair, answer: &Answer, decided: &Decisions) -> anyhow::Result<()> {
        let recorded = self.recorded(pair, answer).await;
        let known = decided.get(&(self.mode.to_owned(), pair.name.clone()));
        let (word, detail) = match (recorded, known) {
            (Ok(word), None) => (word, String::new()),
            // A decision that is not needed hides what it was made for.
            (Ok(_), Some(_)) => {
                (Word::Fail, "the answer is as recorded: the decision in the list is not needed".to_owned())
            }
            (Err(recorded), None) => (Word::Fail, format!("{recorded}; the answer: {}", shown(answer))),
            (Err(_), Some(known)) => match self.decided(known, answer).await {
                Ok(()) => (Word::Decided, format!("{}: {}", known.section, known.because)),
                Err(difference) => {
                    (Word::Fail, format!("not as decided: {difference}; the answer: {}", shown(answer)))
                }
            },
        };
        let said = match word {
            Word::Same => "same",
            Word::Superset => "superset",
            Word::Decided => "decided",
            Word::Skipped => "skipped",
            Word::Fail => "FAIL",
        };
        println!("  {said:<9} {}{}{detail}", pair.name, if detail.is_empty() { "" } else { "  " });
        self.verdicts.push(Verdict { word });
        Ok(())
    }

    async fn recorded(&mut self, pair: &Pair, answer: &Answer) -> Result<Word, String> {
        let expected = &pair.response;
        if answer.status != expected.status {
            return Err(format!("status {} was recorded", expected.status));
        }
        for name in ["content-type", "allow", "access-control-allow-origin"] {
            let Some(wanted) = expected.headers.get(name) else { continue };
            header(answer, name, wanted)?;
        }
        // Without a body to compare, as in a file, only its decision can tell.
        let strictness = Strictness::Superset;
        let comparison = Comparison { names: &self.names, volatile: &pair.volatile, strictness };
        let seen = comparison.compare(&expected.body, &answer.body)?;
        self.bind(seen.found).await?;
        Ok(if seen.more { Word::Superset } else { Word::Same })
    }

    async fn decided(&mut self, known: &Decided, answer: &Answer) -> Result<(), String> {
        if answer.status != known.status {
            return Err(format!("status {} was decided", known.status));
        }
        for (name, wanted) in &known.headers {
            header(answer, name, wanted)?;
        }
        let strictness = Strictness::Exact;
        let comparison = Comparison { names: &self.names, volatile: &known.volatile, strictness };
        let seen = comparison.compare(&known.body, &answer.body)?;
        self.bind(seen.found).await
    }

    /// Binds new placeholders; a token must be good, and of the user whose token stood there.
    async fn bind(&mut self, found: Vec<Found>) -> Result<(), String> {
        for Found { name, value } in found {
            if name.starts_with("<TOKEN") {
                let who = self.who(&value).await?;
                match self.names.get(&name).map(str::to_owned) {
                    Some(known) if self.who(&known).await? != who => {
                        return Err(format!("{name} is another user's token"));
                    }
                    Some(_) => {}
                    None => self.names.set(&name, &value),
                }
            } else {
                self.names.set(&name, &value);
            }
        }
        Ok(())
    }

    async fn who(&self, token: &str) -> Result<Value, String> {
        let me = self.world.asker.json("GET", "/api/me", token, None).await;
        me.map_err(|error| format!("the token opens nothing: {error:#}"))
    }
}

fn is_live(pair: &Pair) -> bool {
    pair.request.method == "WEBSOCKET"
}

fn header(answer: &Answer, name: &str, wanted: &str) -> Result<(), String> {
    let there = answer.headers.get(name).map(String::as_str);
    if there == Some(wanted) {
        Ok(())
    } else {
        Err(format!("{name}: {wanted:?} was expected, not {there:?}"))
    }
}

fn shown(answer: &Answer) -> String {
    let body = shortened(&answer.body).to_string();
    let cut = body.char_indices().nth(4000).map_or(body.len(), |(at, _)| at);
    format!("{} {}", answer.status, &body[..cut])
}

/// The same with long texts (pictures) cut.
fn shortened(value: &Value) -> Value {
    match value {
        Value::String(text) if text.chars().count() > 200 => {
            Value::String(text.chars().take(40).chain("…".chars()).collect())
        }
        Value::Array(values) => values.iter().map(shortened).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), shortened(value))).collect(),
        other => other.clone(),
    }
}
