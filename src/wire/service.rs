//! The service: a request in, the body of the response out.

use super::codes::{Code, Refusal};
use super::graph::Graph;
use super::json::{Object, Wrong};
use super::query::Query;
use super::requests::{FollowGet, FollowTargets};
use super::usersig::{self, Key};
use super::verified::VerifiedTickets;
use super::{account, follow, requests};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

/// One app: its graph, who may ask, and whether the feature is on.
pub struct App {
    sdk_app_id: u64,
    graph: Arc<dyn Graph>,
    tickets: VerifiedTickets,
    admins: HashSet<String>,
    follow_is_on: bool,
}

impl App {
    /// An app whose tickets are signed with one of `keys` (two while one is being replaced). Its
    /// one admin is `administrator`.
    pub fn new(sdk_app_id: u64, keys: Vec<Key>, graph: Arc<dyn Graph>) -> App {
        App {
            sdk_app_id,
            graph,
            tickets: VerifiedTickets::new(sdk_app_id, keys),
            admins: HashSet::from(["administrator".to_owned()]),
            follow_is_on: true,
        }
    }

    /// Who may ask instead.
    #[must_use]
    pub fn admins(mut self, admins: impl IntoIterator<Item = String>) -> App {
        self.admins = admins.into_iter().collect();
        self
    }

    /// Whether the follow commands are answered. Otherwise they get [`Code::FeatureOff`].
    #[must_use]
    pub fn follow_is_on(mut self, is_on: bool) -> App {
        self.follow_is_on = is_on;
        self
    }
}

/// The commands, by the last part of their paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    FollowAdd,
    FollowDelete,
    FollowCheck,
    FollowGet,
    FollowGetInfo,
    AccountImport,
    MultiaccountImport,
    AccountDelete,
    AccountCheck,
}

impl Command {
    const ALL: [(Command, &'static str); 9] = [
        (Command::FollowGetInfo, "v4/follow/follow_get_info"),
        (Command::FollowAdd, "v4/follow/follow_add"),
        (Command::FollowDelete, "v4/follow/follow_delete"),
        (Command::FollowCheck, "v4/follow/follow_check"),
        (Command::FollowGet, "v4/follow/follow_get"),
        (Command::AccountImport, "v4/im_open_login_svc/account_import"),
        (Command::MultiaccountImport, "v4/im_open_login_svc/multiaccount_import"),
        (Command::AccountDelete, "v4/im_open_login_svc/account_delete"),
        (Command::AccountCheck, "v4/im_open_login_svc/account_check"),
    ];

    fn of(path: &str) -> Option<(Command, &'static str)> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let (command, known) = *Command::ALL.iter().find(|(_, known)| *known == path)?;
        Some((command, last_part(known)))
    }

    fn is_follow(self) -> bool {
        match self {
            Command::FollowAdd
            | Command::FollowDelete
            | Command::FollowCheck
            | Command::FollowGet
            | Command::FollowGetInfo => true,
            Command::AccountImport
            | Command::MultiaccountImport
            | Command::AccountDelete
            | Command::AccountCheck => false,
        }
    }

    fn writes(self) -> bool {
        match self {
            Command::FollowAdd
            | Command::FollowDelete
            | Command::AccountImport
            | Command::MultiaccountImport
            | Command::AccountDelete => true,
            Command::FollowCheck
            | Command::FollowGet
            | Command::FollowGetInfo
            | Command::AccountCheck => false,
        }
    }

    /// The code for a parameter that is missing or wrong.
    fn bad_parameter(self) -> Code {
        if self.is_follow() { Code::BadParameter } else { Code::BadAccountParameter }
    }
}

/// Whether a command is one of the account service, which has codes of its own for some things.
fn is_of_accounts(command: Option<(Command, &'static str)>) -> bool {
    command.is_some_and(|(command, _)| !command.is_follow())
}

fn last_part(path: &'static str) -> &'static str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What goes back to the client, with HTTP status 200, and what was asked, for those who measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The JSON body.
    pub body: Vec<u8>,
    /// The command; empty where there is none of that name.
    pub command: &'static str,
    /// The `ErrorCode` of the body.
    pub code: Code,
    /// What failed inside, for the log of the server. The body says only that something did.
    pub failure: Option<String>,
}

impl Answer {
    /// A refusal that the service itself does not know of: too frequent, too late, from the wrong
    /// address. The form of the body is that of the path's command.
    ///
    /// ```
    /// use followgraph::wire::{Answer, Code};
    /// let answer = Answer::refused("/v4/follow/follow_add", Code::TooFrequent, "slow down");
    /// assert!(answer.body.starts_with(br#"{"ActionStatus":"FAIL","ErrorCode":60007,"#));
    /// ```
    pub fn refused(path: &str, code: Code, info: &str) -> Answer {
        Answer::of_refusal(Command::of(path), Refusal::new(code, info))
    }

    /// The server took too long, with the code that the path's command has for that.
    ///
    /// ```
    /// use followgraph::wire::{Answer, Code};
    /// let answer = Answer::timed_out("/v4/follow/follow_add");
    /// assert_eq!(answer.code, Code::ServerTimeout);
    /// ```
    pub fn timed_out(path: &str) -> Answer {
        let command = Command::of(path);
        let code =
            if is_of_accounts(command) { Code::AccountServerTimeout } else { Code::ServerTimeout };
        Answer::of_refusal(command, Refusal::new(code, "the server took too long; try again"))
    }

    /// The server failed, with the code that the path's command has for that, and why, which the
    /// client is not told.
    ///
    /// ```
    /// use followgraph::wire::{Answer, Code};
    /// let answer = Answer::failed("/v4/follow/follow_add", "a thread panicked");
    /// assert_eq!(answer.code, Code::ServerFailed);
    /// assert!(!String::from_utf8(answer.body)?.contains("panicked"));
    /// # Ok::<(), std::string::FromUtf8Error>(())
    /// ```
    pub fn failed(path: &str, failure: &str) -> Answer {
        let command = Command::of(path);
        let code =
            if is_of_accounts(command) { Code::AccountServerFailed } else { Code::ServerFailed };
        Answer::of_refusal(command, Refusal::server_failed(code, failure))
    }

    fn of_refusal(command: Option<(Command, &'static str)>, refusal: Refusal) -> Answer {
        Answer {
            body: refused(&refusal, command.is_some_and(|(command, _)| command.is_follow())),
            command: command.map_or("", |(_, name)| name),
            code: refusal.code,
            failure: refusal.failure,
        }
    }
}

/// A request that may be carried out: its command is known, and its ticket is that of an admin.
pub struct Admitted {
    app: Arc<App>,
    command: Command,
    name: &'static str,
}

impl Admitted {
    /// The command, as in the last part of its path.
    pub fn command(&self) -> &'static str {
        self.name
    }

    /// The app whose admin asks.
    pub fn sdk_app_id(&self) -> u64 {
        self.app.sdk_app_id
    }

    /// Whether carrying the command out may wait: one that writes for the disk, others where
    /// [`Graph::reads_wait`].
    pub fn may_wait(&self) -> bool {
        self.command.writes() || self.app.graph.reads_wait()
    }

    /// Carries the command out with what the body says.
    pub fn respond(&self, body: &[u8]) -> Answer {
        match carry_out(self.command, &self.app, body) {
            Ok(body) => Answer { body, command: self.name, code: Code::Ok, failure: None },
            Err(refusal) => Answer::of_refusal(Some((self.command, self.name)), refusal),
        }
    }
}

/// Answers requests for any number of apps.
///
/// ```
/// use followgraph::wire::usersig::{Key, generate};
/// use followgraph::wire::{App, FollowService};
/// use followgraph::{FollowGraph, Options};
/// use std::sync::Arc;
///
/// let graph = Options::new().create_missing_accounts(true).in_memory()?;
/// graph.follow("UserID_001", "UserID_002")?;
/// let key = Key::new("the secret of the app");
/// let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
/// let usersig = generate(&key, 1_400_000_000, "administrator", now, 86_400)?;
/// let service = FollowService::new([App::new(1_400_000_000, vec![key], Arc::new(graph))]);
///
/// let answer = service.respond(
///     "/v4/follow/follow_get_info",
///     &format!("sdkappid=1400000000&identifier=administrator&usersig={usersig}&contenttype=json"),
///     br#"{"From_Account": "UserID_001", "To_Account": ["UserID_002", "nobody"]}"#,
/// );
/// let body: serde_json::Value = serde_json::from_slice(&answer.body)?;
/// assert_eq!(body["ActionStatus"], "OK");
/// assert_eq!(body["FollowInfo"][0]["FollowerCount"], 1);
/// assert_eq!(body["FollowInfo"][1]["ResultCode"], 30003);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FollowService {
    apps: HashMap<u64, Arc<App>>,
    clock: fn() -> u64,
}

fn unix_seconds() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

impl FollowService {
    /// A service for these apps. Of two with one `SDKAppID` the later counts.
    pub fn new(apps: impl IntoIterator<Item = App>) -> FollowService {
        let apps = apps.into_iter().map(|app| (app.sdk_app_id, Arc::new(app))).collect();
        FollowService { apps, clock: unix_seconds }
    }

    /// The names of the commands it answers, each the last part of a path.
    pub fn commands() -> impl Iterator<Item = &'static str> {
        Command::ALL.iter().map(|(_, path)| last_part(path))
    }

    /// Another clock for the expiry of tickets, in Unix seconds.
    #[must_use]
    pub fn clock(mut self, clock: fn() -> u64) -> FollowService {
        self.clock = clock;
        self
    }

    /// Answers one request: its path, its query without the `?`, its body. May wait for the disk
    /// when the command writes.
    ///
    /// Cost: for `follow_get_info` that of
    /// [`FollowGraph::batch_counts`](crate::FollowGraph::batch_counts) and some microseconds for
    /// the JSON; a ticket that was not seen before costs some tens of microseconds more.
    pub fn respond(&self, path: &str, query: &str, body: &[u8]) -> Answer {
        match self.admit(path, query) {
            Ok(admitted) => admitted.respond(body),
            Err(answer) => answer,
        }
    }

    /// The first half of [`respond`](FollowService::respond), for a server that looks at who asks
    /// before it reads what: whether the command exists, the ticket is genuine and that of an
    /// admin, and the feature is on. Never waits.
    ///
    /// # Errors
    ///
    /// The answer of a request that may not be carried out.
    pub fn admit(&self, path: &str, query: &str) -> Result<Admitted, Answer> {
        let Some((command, name)) = Command::of(path) else {
            let info = "there is no such command";
            return Err(Answer::refused(path, Code::UnknownCommand, info));
        };
        let app = self.app_of(query).and_then(|app| {
            if command.is_follow() && !app.follow_is_on {
                let info = "following is not switched on for this app";
                return Err(Refusal::new(Code::FeatureOff, info));
            }
            Ok(Admitted { app: app.clone(), command, name })
        });
        app.map_err(|refusal| Answer::of_refusal(Some((command, name)), refusal))
    }

    /// The `SDKAppID` of the app whose admin asks, for what a server offers beside the commands.
    ///
    /// # Errors
    ///
    /// The answer of a request whose query is not that of an admin.
    pub fn admit_admin(&self, query: &str) -> Result<u64, Answer> {
        let app = self.app_of(query).map_err(|refusal| Answer::of_refusal(None, refusal))?;
        Ok(app.sdk_app_id)
    }

    /// The app of a query whose ticket says that its identifier may ask.
    fn app_of(&self, query: &str) -> Result<&Arc<App>, Refusal> {
        let query = Query::parse(query)?;
        let unknown = || Refusal::new(Code::UnknownApp, "there is no app with this sdkappid");
        let app = self.apps.get(&query.sdk_app_id).ok_or_else(unknown)?;
        app.tickets
            .verify(&query.usersig, &query.identifier, (self.clock)())
            .map_err(usersig::refusal)?;
        if !app.admins.contains(&*query.identifier) {
            return Err(Refusal::new(Code::NotAdmin, "the identifier is not an admin of the app"));
        }
        Ok(app)
    }
}

fn carry_out(command: Command, app: &App, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let graph = &*app.graph;
    let body = &mut Object::parse(body).map_err(|info| Refusal::new(Code::BadJson, info))?;
    let wrong = |wrong: Wrong| {
        let code = if wrong.is_account { Code::AccountNotString } else { command.bad_parameter() };
        Refusal::new(code, wrong.info)
    };
    match command {
        Command::FollowAdd => follow::add(graph, &FollowTargets::read_to_add(body).map_err(wrong)?),
        Command::FollowDelete => follow::delete(graph, &FollowTargets::read(body).map_err(wrong)?),
        Command::FollowCheck => follow::check(graph, &FollowTargets::read(body).map_err(wrong)?),
        Command::FollowGet => follow::get(graph, &FollowGet::read(body).map_err(wrong)?),
        Command::FollowGetInfo => {
            follow::get_info(graph, &FollowTargets::read(body).map_err(wrong)?)
        }
        Command::AccountImport => account::import(graph, &requests::import(body).map_err(wrong)?),
        Command::MultiaccountImport => {
            account::import_many(graph, &requests::import_many(body).map_err(wrong)?)
        }
        Command::AccountDelete => account::delete(graph, &requests::delete(body).map_err(wrong)?),
        Command::AccountCheck => account::check(graph, &requests::check(body).map_err(wrong)?),
    }
}

/// What every body says. Only the follow commands are documented with `ErrorDisplay`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope<'a> {
    action_status: &'static str,
    error_code: u32,
    error_info: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_display: Option<&'static str>,
}

impl<'a> Envelope<'a> {
    fn new(code: Code, error_info: &'a str, with_display: bool) -> Envelope<'a> {
        Envelope {
            action_status: if code == Code::Ok { "OK" } else { "FAIL" },
            error_code: code.number(),
            error_info,
            error_display: with_display.then_some(""),
        }
    }
}

#[derive(Serialize)]
struct PayloadFirst<'a, P> {
    #[serde(flatten)]
    payload: P,
    #[serde(flatten)]
    envelope: Envelope<'a>,
}

#[derive(Serialize)]
struct EnvelopeFirst<'a, P> {
    #[serde(flatten)]
    envelope: Envelope<'a>,
    #[serde(flatten)]
    payload: P,
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings, numbers and arrays have a JSON form")
}

/// The body of a follow command that was carried out, in the order of the published samples.
pub(super) fn follow_done(payload: impl Serialize) -> Vec<u8> {
    to_json(&PayloadFirst { payload, envelope: Envelope::new(Code::Ok, "", true) })
}

/// The same of an account command.
pub(super) fn account_done(payload: impl Serialize) -> Vec<u8> {
    to_json(&EnvelopeFirst { envelope: Envelope::new(Code::Ok, "", false), payload })
}

/// The body of a request that was not carried out.
fn refused(refusal: &Refusal, with_display: bool) -> Vec<u8> {
    to_json(&Envelope::new(refusal.code, &refusal.info, with_display))
}
