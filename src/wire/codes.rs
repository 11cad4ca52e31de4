//! The published error codes that this service gives.

use std::fmt;

/// An error code and what it means, as published for the REST API: 60xxx of the gateway
/// (<https://www.tencentcloud.com/document/product/1047/34620>), 70xxx of signatures and accounts,
/// 30xxx and 32xxx of the follow service
/// (<https://www.tencentcloud.com/document/product/1047/34348>).
///
/// ```
/// use followgraph::wire::Code;
/// assert_eq!(Code::UnknownAccount.number(), 30003);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u32)]
pub enum Code {
    /// Done.
    Ok = 0,
    /// A parameter of a follow command is missing, of the wrong type or out of range.
    BadParameter = 30001,
    /// An account of the request cannot exist: its name is not one.
    IllegalAccount = 30002,
    /// An account of the request was never imported.
    UnknownAccount = 30003,
    /// The feature is switched off for the app.
    FeatureOff = 30005,
    /// The server failed; try again.
    ServerFailed = 30006,
    /// The server took too long; try again.
    ServerTimeout = 30007,
    /// The follower follows as many as it may.
    FollowingLimit = 32100,
    /// The account to follow has as many followers as it may.
    FollowersLimit = 32101,
    /// The follower has as many mutual follows as it may.
    FollowerMutualLimit = 32102,
    /// The account to follow has as many mutual follows as it may.
    FollowedMutualLimit = 32103,
    /// The request is not one of HTTP that this service takes.
    BadHttp = 60002,
    /// The body is not JSON.
    BadJson = 60003,
    /// Too many requests of one command.
    TooFrequent = 60007,
    /// The request did not arrive in time.
    RequestTimeout = 60008,
    /// No such command.
    UnknownCommand = 60009,
    /// The identifier is not an admin of the app.
    NotAdmin = 60010,
    /// The query has no `SDKAppID`.
    MissingApp = 60012,
    /// An account of the body is not a string.
    AccountNotString = 60015,
    /// The address may not ask.
    AddressRefused = 60021,
    /// The query lacks the identifier or the signature, or asks for another content type.
    BadQuery = 60025,
    /// The signature has expired.
    SigExpired = 70001,
    /// The signature is not one: it cannot be decoded.
    SigMalformed = 70003,
    /// The signature was not made with a key of the app.
    SigWrong = 70009,
    /// The signature is for another identifier.
    SigOfOther = 70013,
    /// The signature is for another `SDKAppID`.
    SigOfOtherApp = 70014,
    /// There is no such `SDKAppID`.
    UnknownApp = 70020,
    /// The account to delete was never imported.
    AccountNotImported = 70107,
    /// The server took too long over an account command; try again.
    AccountServerTimeout = 70169,
    /// A parameter of an account command is missing, of the wrong type or out of range.
    BadAccountParameter = 70402,
    /// The server failed to carry out an account command; try again.
    AccountServerFailed = 70500,
}

impl Code {
    /// The number that clients know.
    pub fn number(self) -> u32 {
        self as u32
    }
}

/// Why a request as a whole, or one of its items, is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: Code,
    /// What the client is told.
    pub(super) info: String,
    /// What failed inside, which the client is not told.
    pub(super) failure: Option<String>,
}

impl Refusal {
    pub(super) fn new(code: Code, info: impl Into<String>) -> Refusal {
        Refusal { code, info: info.into(), failure: None }
    }

    /// The server failed, with the code its commands have for that.
    pub(super) fn server_failed(code: Code, failure: impl fmt::Display) -> Refusal {
        let failure = Some(failure.to_string());
        Refusal { failure, ..Refusal::new(code, "the server failed; try again") }
    }

    /// Refuses a field with no accounts, or with more than are taken.
    pub(super) fn check_len(
        code: Code,
        field: &str,
        len: usize,
        max: usize,
    ) -> Result<(), Refusal> {
        match len {
            0 => Err(Refusal::new(code, format!("{field} is empty"))),
            _ if len > max => {
                let why = format!("{field} has {len} accounts, at most {max} are taken");
                Err(Refusal::new(code, why))
            }
            _ => Ok(()),
        }
    }
}
