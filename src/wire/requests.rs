//! The requests as published: the names of the fields and their shapes.
//!
//! Fields that are not known are ignored.

use super::json::{Object, Wrong, no_accounts, no_objects};
use std::borrow::Cow;

/// The name of an account, borrowed from the body where it has no escapes.
pub(super) type Name<'a> = Cow<'a, str>;

/// `follow_add`, `follow_delete`, `follow_check` and `follow_get_info`: an account and others.
pub(super) struct FollowTargets<'a> {
    pub(super) from: Name<'a>,
    pub(super) to: Vec<Name<'a>>,
}

impl<'a> FollowTargets<'a> {
    /// Reads the others from `To_Account`, an array of names.
    pub(super) fn read(body: &mut Object<'a>) -> Result<FollowTargets<'a>, Wrong> {
        let from = body.account("From_Account")?;
        let to = body.accounts("To_Account")?.ok_or_else(|| no_accounts("To_Account"))?;
        Ok(FollowTargets { from, to })
    }

    /// Reads the others from `FollowItem`, an array of objects, as `follow_add` alone has it.
    pub(super) fn read_to_add(body: &mut Object<'a>) -> Result<FollowTargets<'a>, Wrong> {
        let from = body.account("From_Account")?;
        let to = body.objects("FollowItem", "To_Account", |item| item.account("To_Account"))?;
        let to = to.ok_or_else(|| no_objects("FollowItem", "To_Account"))?;
        Ok(FollowTargets { from, to })
    }
}

/// `follow_get`: a page of a list.
pub(super) struct FollowGet<'a> {
    /// Whose list.
    pub(super) from: Name<'a>,
    /// 1: followers, 2: following, 3: mutual.
    pub(super) follow_type: i64,
    /// The `NextCursor` of the page before. Empty for the first page.
    pub(super) start_cursor: Option<Cow<'a, str>>,
    /// How many entries; by default 100, at most 1000.
    pub(super) want_num: Option<i64>,
}

impl<'a> FollowGet<'a> {
    pub(super) fn read(body: &mut Object<'a>) -> Result<FollowGet<'a>, Wrong> {
        Ok(FollowGet {
            from: body.account("From_Account")?,
            follow_type: body.integer("FollowType")?,
            start_cursor: body.text("StartCursor")?,
            want_num: body.optional_integer("WantNum")?,
        })
    }
}

/// Reads `account_import`.
pub(super) fn import<'a>(body: &mut Object<'a>) -> Result<Name<'a>, Wrong> {
    body.user()
}

/// Reads `multiaccount_import`: the older field with names, the newer with objects, or both.
pub(super) fn import_many<'a>(body: &mut Object<'a>) -> Result<Vec<Name<'a>>, Wrong> {
    let mut names = body.accounts("Accounts")?.unwrap_or_default();
    names.extend(users(body, "AccountList")?.unwrap_or_default());
    Ok(names)
}

/// Reads `account_delete`.
pub(super) fn delete<'a>(body: &mut Object<'a>) -> Result<Vec<Name<'a>>, Wrong> {
    users(body, "DeleteItem")?.ok_or_else(|| no_objects("DeleteItem", "UserID"))
}

/// Reads `account_check`.
pub(super) fn check<'a>(body: &mut Object<'a>) -> Result<Vec<Name<'a>>, Wrong> {
    users(body, "CheckItem")?.ok_or_else(|| no_objects("CheckItem", "UserID"))
}

fn users<'a>(body: &mut Object<'a>, field: &str) -> Result<Option<Vec<Name<'a>>>, Wrong> {
    body.objects(field, "UserID", Object::user)
}
