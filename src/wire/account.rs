//! The four commands of `v4/im_open_login_svc/` that this graph needs: accounts begin to exist, are
//! asked for, and go.

use super::codes::{Code, Refusal};
use super::follow::is_late;
use super::graph::Graph;
use super::requests::Name;
use super::service::account_done;
use crate::{Error, ErrorKind, Outcome};
use serde::Serialize;

/// The most accounts of one request.
const ACCOUNTS_MAX: usize = 100;
/// The longest `UserID`.
const USER_ID_BYTES_MAX: usize = 32;
/// What the original says of an account that was never imported.
const NOT_IMPORTED: &str = "Err_TLS_PT_Open_Login_Account_Not_Exist";

/// The body of an answer that has no payload.
#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct ImportResult<'a> {
    #[serde(rename = "FailAccounts")]
    failed: Vec<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteResult<'a> {
    result_code: u32,
    result_info: &'static str,
    #[serde(rename = "UserID")]
    account: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CheckResult<'a> {
    #[serde(rename = "UserID")]
    account: &'a str,
    result_code: u32,
    result_info: &'static str,
    account_status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Results<T> {
    result_item: Vec<T>,
}

fn bad_parameter(info: String) -> Refusal {
    Refusal::new(Code::BadAccountParameter, info)
}

fn server_failed(error: &Error) -> Refusal {
    let code = if is_late(error) { Code::AccountServerTimeout } else { Code::AccountServerFailed };
    Refusal::server_failed(code, error)
}

fn check_len(field: &str, len: usize) -> Result<(), Refusal> {
    Refusal::check_len(Code::BadAccountParameter, field, len, ACCOUNTS_MAX)
}

fn is_too_long(name: &str) -> bool {
    name.len() > USER_ID_BYTES_MAX
}

/// `account_import`. Importing twice keeps one account. Nick and face are not kept here.
pub(super) fn import(graph: &dyn Graph, name: &str) -> Result<Vec<u8>, Refusal> {
    if is_too_long(name) {
        let info = format!("UserID is longer than {USER_ID_BYTES_MAX} bytes");
        return Err(bad_parameter(info));
    }
    let added = graph.add_accounts(&[name]).and_then(|results| results.into_iter().collect());
    match added.map(|_: Vec<Outcome>| ()) {
        Ok(()) => Ok(account_done(Nothing {})),
        Err(error) if error.kind() == ErrorKind::InvalidName => {
            Err(bad_parameter(format!("UserID: {error}")))
        }
        Err(error) => Err(server_failed(&error)),
    }
}

/// `multiaccount_import`: all in one commit, those that cannot be named in the answer.
pub(super) fn import_many(graph: &dyn Graph, names: &[Name<'_>]) -> Result<Vec<u8>, Refusal> {
    check_len("AccountList", names.len())?;
    let (too_long, fitting): (Vec<&str>, Vec<&str>) =
        names.iter().map(AsRef::as_ref).partition(|name| is_too_long(name));
    let results = graph.add_accounts(&fitting).map_err(|error| server_failed(&error))?;
    let refused = fitting.into_iter().zip(&results).filter(|(_, result)| result.is_err());
    let refused = refused.map(|(name, _)| name);
    let failed = too_long.into_iter().chain(refused).collect();
    Ok(account_done(ImportResult { failed }))
}

/// `account_delete`: accounts go, with all their follows in both directions.
pub(super) fn delete(graph: &dyn Graph, names: &[Name<'_>]) -> Result<Vec<u8>, Refusal> {
    check_len("DeleteItem", names.len())?;
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    let results = graph.remove_accounts(&names).map_err(|error| server_failed(&error))?;
    let items = names.iter().zip(results).map(|(&account, result)| {
        let (code, info) = match result {
            Ok(_) => (Code::Ok, ""),
            Err(error) => match error.kind() {
                ErrorKind::UnknownAccount | ErrorKind::InvalidName => {
                    (Code::AccountNotImported, NOT_IMPORTED)
                }
                _ => (server_failed(&error).code, "the server failed; try again"),
            },
        };
        let result_code = code.number();
        DeleteResult { result_code, result_info: info, account }
    });
    Ok(account_done(Results { result_item: items.collect() }))
}

/// `account_check`: an account that does not exist is an answer, not an error.
pub(super) fn check(graph: &dyn Graph, names: &[Name<'_>]) -> Result<Vec<u8>, Refusal> {
    check_len("CheckItem", names.len())?;
    let items = names.iter().map(|account| {
        let (code, status) = match graph.check_account(account) {
            Ok(()) => (Code::Ok, "Imported"),
            Err(error) => match error.kind() {
                ErrorKind::UnknownAccount | ErrorKind::InvalidName => (Code::Ok, "NotImported"),
                _ => (server_failed(&error).code, ""),
            },
        };
        let result_info = if code == Code::Ok { "" } else { "the server failed; try again" };
        let result_code = code.number();
        CheckResult { account, result_code, result_info, account_status: status }
    });
    Ok(account_done(Results { result_item: items.collect() }))
}
