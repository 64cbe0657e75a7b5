//! Lists and watches one kind, as a state machine.
//!
//! Takes the answers of the API server. Returns [`Step`]s: a complete list, then changes. Lists
//! again when the known resource version is too old, which the server reports by the HTTP status or
//! inside a watch. Lists are streamed (KEP-3157) if the server supports it, else read by pages.
//! After a failure the next call continues from the right state. Does not pause, retry or log
//! outages: the caller does.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use tokio::time::timeout;

use super::Watched;
use super::backoff::watch_timeout;
use super::client::Api;
use super::event_reader::{EventReader, Line};
use super::failure::Failure;
use super::request::{Freshness, PAGE, Resource, Since};
use super::request_error::RequestError;
use super::said_type::SaidType;
use crate::objects::{Field, List};

/// The longest wait for an answer to begin, and for the next line of a list that is being sent.
const ANSWER: Duration = Duration::from_secs(60);

/// The time for which a silent watch is kept beyond its own time limit.
const GRACE: Duration = Duration::from_secs(15);

/// The shortest life of a watch that is resumed at once.
const BRIEF: Duration = Duration::from_secs(1);

/// The number of failures in a row after which another method is tried.
const ENOUGH: u32 = 3;

/// One step of the stream.
pub(super) enum Step<T> {
    /// The server answers; nothing else is known yet.
    Connected,
    /// A list begins. The objects of an earlier, incomplete list are void.
    Begin,
    /// Objects of the list.
    Items(Vec<Field<T>>),
    /// An object that was deleted before the list is complete.
    Lost(T),
    /// The list is complete.
    Complete,
    /// An object in its present state.
    Put(T),
    /// The last state of an object that is gone.
    Gone(T),
}

/// The state of the machine.
enum State {
    /// A list has to be read.
    Start(Freshness),
    /// A list is being read; the page of the last of these tokens is next.
    Page { tokens: Tokens, limit: u32 },
    /// A list is being streamed.
    Initial(EventReader),
    /// Everything up to this version is known; a watch has to be opened.
    Resume { version: String },
    /// A watch is open, and everything up to this version is known.
    Watching { version: String, lines: EventReader },
}

/// The method by which lists are read.
#[derive(Clone, Copy)]
enum Lists {
    Streamed,
    Paged { limit: u32 },
}

/// A list and a watch of one kind.
pub(super) struct Stream<'a, W: Watched> {
    api: &'a Api,
    resource: Resource,
    lists: Lists,
    state: State,
    /// The number of failures since the last success in this state.
    failures: u32,
    /// True if the open watch has brought an object.
    has_brought: bool,
    steps: VecDeque<Step<W::Object>>,
}

impl<'a, W: Watched> Stream<'a, W> {
    pub(super) fn new(api: &'a Api, resource: Resource) -> Self {
        let (lists, state) = (Lists::Streamed, State::Start(Freshness::Any));
        let (failures, has_brought) = (0, false);
        Self { api, resource, lists, state, failures, has_brought, steps: VecDeque::new() }
    }

    /// Returns the next step.
    pub(super) async fn next(&mut self) -> Result<Step<W::Object>, Failure> {
        loop {
            if let Some(step) = self.steps.pop_front() {
                return Ok(step);
            }
            self.advance().await?;
        }
    }

    /// Makes one transition. Each return, also with an error, leaves the state from which to
    /// continue.
    async fn advance(&mut self) -> Result<(), Failure> {
        match std::mem::replace(&mut self.state, State::Start(Freshness::Latest)) {
            State::Start(freshness) => match self.lists {
                Lists::Streamed => self.begin_stream(freshness).await,
                Lists::Paged { limit } => self.page(freshness, limit, Tokens::default()).await,
            },
            State::Page { tokens, limit } => self.page(Freshness::Latest, limit, tokens).await,
            State::Initial(lines) => self.initial(lines).await,
            State::Resume { version } => self.resume(version).await,
            State::Watching { version, lines } => self.watch(version, lines).await,
        }
    }

    async fn begin_stream(&mut self, freshness: Freshness) -> Result<(), Failure> {
        self.state = State::Start(freshness);
        match self.open(Since::State(freshness)).await {
            Ok(lines) => {
                self.state = State::Initial(lines);
                self.steps.push_back(Step::Begin);
                Ok(())
            }
            Err(Failure::RequestError(RequestError::Refused { code, .. }))
                if cannot_stream(code) =>
            {
                self.lists = Lists::Paged { limit: PAGE };
                Ok(())
            }
            // Only a plain list can tell what is wrong; the next one may be streamed again.
            Err(Failure::RequestError(RequestError::Refused { code, .. }))
                if !matches!(code, 401 | 429) =>
            {
                self.page(freshness, PAGE, Tokens::default()).await
            }
            Err(failure) => Err(failure),
        }
    }

    async fn initial(&mut self, mut lines: EventReader) -> Result<(), Failure> {
        match Self::typed(lines.next_within(ANSWER).await?)? {
            Some(Line::Added(object) | Line::Modified(object)) => {
                self.steps.push_back(Step::Items(vec![Field::Given(object)]));
                self.state = State::Initial(lines);
                Ok(())
            }
            Some(Line::Bookmark(mark)) if mark.ends_initial_events() => {
                let version = mark.version().ok_or_else(no_version)?.to_owned();
                self.failures = 0;
                self.steps.push_back(Step::Complete);
                self.has_brought = true;
                self.state = State::Watching { version, lines };
                Ok(())
            }
            // Servers before 1.27 treat the request as an ordinary watch: the mark never comes.
            Some(Line::Bookmark(_)) => {
                self.lists = Lists::Paged { limit: PAGE };
                Ok(())
            }
            // The initial state may be older than the changes that follow it.
            Some(Line::Deleted(object)) => {
                self.steps.push_back(Step::Lost(object));
                self.state = State::Initial(lines);
                Ok(())
            }
            Some(Line::Error(status)) => Err(status.into()),
            None => {
                let again = self.enough_failures();
                if again {
                    self.lists = Lists::Paged { limit: PAGE };
                }
                Err(Failure::Brief { again })
            }
        }
    }

    async fn page(
        &mut self,
        freshness: Freshness,
        limit: u32,
        mut tokens: Tokens,
    ) -> Result<(), Failure> {
        self.state = State::Start(freshness);
        let is_first = tokens.last().is_none();
        let request = self.resource.list(freshness, limit, tokens.last())?;
        let answer = timeout(ANSWER, self.api.text(request)).await.map_err(|_| no_answer())?;
        let answer = answer.map_err(Failure::from).inspect_err(|failure| {
            // The list was too long for its pages to be kept: it has to be read in one.
            if !is_first && matches!(failure, Failure::Expired) {
                self.lists = Lists::Paged { limit: 0 };
            }
        })?;
        let page: Page<W::Object> =
            serde_json::from_str(&answer).map_err(|error| Failure::garbled(&answer, &error))?;
        let said = SaidType { api_version: &page.api_version, kind: &page.kind };
        let told = page.message.given().map(String::as_str);
        said.expect(W::API_VERSION, &format!("{}List", W::KIND), told)?;
        // An answer without items would remove every fact. Go writes an empty list as null.
        let Some(List::Items(items)) = page.items else {
            return Err(Failure::Garbled("a list without items".to_owned()));
        };
        let meta = page.metadata.given();
        let next = meta.and_then(|meta| meta.token.given()).filter(|token| !token.is_empty());
        self.state = match next {
            Some(token) => {
                tokens.push(token)?;
                State::Page { tokens, limit }
            }
            None => {
                let version = meta.and_then(|meta| meta.resource_version.given());
                State::Resume { version: version.ok_or_else(no_version)?.clone() }
            }
        };
        let is_last = next.is_none();
        if is_first {
            self.steps.push_back(Step::Begin);
        }
        self.steps.push_back(Step::Items(items));
        if is_last {
            self.failures = 0;
            self.steps.push_back(Step::Complete);
        }
        Ok(())
    }

    async fn resume(&mut self, version: String) -> Result<(), Failure> {
        match self.open(Since::Version(&version)).await {
            Ok(lines) => {
                self.steps.push_back(Step::Connected);
                self.has_brought = false;
                self.state = State::Watching { version, lines };
                Ok(())
            }
            Err(Failure::Expired) => Err(Failure::Expired),
            Err(failure) => {
                // A version that the server refuses several times will never be accepted.
                let is_refused =
                    matches!(failure, Failure::RequestError(RequestError::Refused { .. }));
                if !(is_refused && self.enough_failures()) {
                    self.state = State::Resume { version };
                }
                Err(failure)
            }
        }
    }

    async fn watch(&mut self, version: String, mut lines: EventReader) -> Result<(), Failure> {
        let (newer, step) = match Self::typed(lines.next().await?)? {
            Some(Line::Added(object) | Line::Modified(object)) => {
                (W::resource_version(&object).map(str::to_owned), Some(Step::Put(object)))
            }
            Some(Line::Deleted(object)) => {
                (W::resource_version(&object).map(str::to_owned), Some(Step::Gone(object)))
            }
            Some(Line::Bookmark(mark)) => (mark.version().map(str::to_owned), None),
            Some(Line::Error(status)) => return Err(status.into()),
            None => {
                if self.has_brought || lines.age() >= BRIEF {
                    self.state = State::Resume { version };
                    return Ok(());
                }
                let again = self.enough_failures();
                if !again {
                    self.state = State::Resume { version };
                }
                return Err(Failure::Brief { again });
            }
        };
        let version = newer.unwrap_or(version);
        self.failures = 0;
        self.has_brought |= step.is_some();
        self.steps.extend(step);
        self.state = State::Watching { version, lines };
        Ok(())
    }

    /// Returns the event if its object has the watched type.
    fn typed(line: Option<Line<W::Object>>) -> Result<Option<Line<W::Object>>, Failure> {
        let said = match &line {
            Some(Line::Added(object) | Line::Modified(object) | Line::Deleted(object)) => {
                W::said_type(object)
            }
            Some(Line::Bookmark(mark)) => mark.said_type(),
            // The status describes an error.
            Some(Line::Error(_)) | None => return Ok(line),
        };
        said.expect(W::API_VERSION, W::KIND.name(), None)?;
        Ok(line)
    }

    /// Opens a watch. Takes `&mut self` because an open watch may move between threads but not be
    /// shared.
    async fn open(&mut self, since: Since<'_>) -> Result<EventReader, Failure> {
        let limit = watch_timeout();
        let request = self.resource.watch(since, limit)?;
        let body = timeout(ANSWER, self.api.stream(request)).await.map_err(|_| no_answer())??;
        Ok(EventReader::new(body, limit + GRACE))
    }

    /// Counts one more failure. True if another method should be tried.
    fn enough_failures(&mut self) -> bool {
        self.failures += 1;
        self.failures >= ENOUGH
    }
}

/// True if this status means that the server does not support streamed lists: it does not know or
/// forbids the parameters. If the status has another cause, a plain list gets it as well.
fn cannot_stream(code: u16) -> bool {
    matches!(code, 400 | 403 | 405 | 406 | 415 | 422)
}

fn no_answer() -> Failure {
    Failure::RequestError(RequestError::unreachable(format!("no answer for {ANSWER:?}")))
}

fn no_version() -> Failure {
    Failure::Garbled("a list without a resource version".to_owned())
}

/// The tokens of the pages of a list, in the order in which the server gave them.
#[derive(Default)]
struct Tokens(Vec<String>);

impl Tokens {
    fn last(&self) -> Option<&str> {
        self.0.last().map(String::as_str)
    }

    /// Adds the token of the next page. A server that gives a token again would be asked for ever.
    fn push(&mut self, token: &str) -> Result<(), Failure> {
        if self.0.iter().any(|known| known == token) {
            let text = "a list whose `continue` token leads to a page that was sent before";
            return Err(Failure::Garbled(text.to_owned()));
        }
        self.0.push(token.to_owned());
        Ok(())
    }
}

/// A page of a list.
#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
#[serde(rename_all = "camelCase")]
struct Page<T> {
    #[serde(default)]
    api_version: Field<String>,
    #[serde(default)]
    kind: Field<String>,
    /// The message of a `Status`, which may come instead of a list.
    #[serde(default)]
    message: Field<String>,
    #[serde(default)]
    metadata: Field<PageMeta>,
    #[serde(default, deserialize_with = "present")]
    items: Option<List<T>>,
}

/// Deserializes a field that is present, even if it is `null`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMeta {
    #[serde(default)]
    resource_version: Field<String>,
    #[serde(default, rename = "continue")]
    token: Field<String>,
}
