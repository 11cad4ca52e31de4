//! The requests as published: field names, their case and their shapes.
//!
//! A name is borrowed from the body where it has no escapes, so reading a request copies nothing.
//! Fields that are not known are passed over, and `null` counts as missing where a field may be.

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// What the message of an error says when an account is not a string: that has a code of its own.
pub(super) const NAME_EXPECTED: &str = "the name of an account";

/// The name of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Name<'a>(pub Cow<'a, str>);

impl AsRef<str> for Name<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Name<'a> {
    fn from(name: &'a str) -> Name<'a> {
        Name(Cow::Borrowed(name))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name<'a>, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(NAME_EXPECTED)
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

/// `follow_add`: whom an account begins to follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowAdd<'a> {
    /// The follower.
    #[serde(rename = "From_Account", borrow)]
    pub from: Name<'a>,
    /// At most 20.
    #[serde(rename = "FollowItem", borrow)]
    pub items: Vec<FollowTarget<'a>>,
}

/// One account to follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowTarget<'a> {
    /// The account.
    #[serde(rename = "To_Account", borrow)]
    pub to: Name<'a>,
}

/// `follow_delete`, `follow_check` and `follow_get_info`: an account and others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowTargets<'a> {
    /// Who unfollows, or asks.
    #[serde(rename = "From_Account", borrow)]
    pub from: Name<'a>,
    /// At most 20; 100 for `follow_check`.
    #[serde(rename = "To_Account", borrow)]
    pub to: Vec<Name<'a>>,
}

/// `follow_get`: a page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowGet<'a> {
    /// Whose list.
    #[serde(rename = "From_Account", borrow)]
    pub from: Name<'a>,
    /// 1: followers, 2: following, 3: mutual.
    #[serde(rename = "FollowType")]
    pub follow_type: i64,
    /// Where the page begins: what the page before gave as `NextCursor`. Empty: the first page.
    #[serde(rename = "StartCursor", borrow, default, skip_serializing_if = "Option::is_none")]
    pub start_cursor: Option<Cow<'a, str>>,
    /// How many entries; by default 100, at most 1000.
    #[serde(rename = "WantNum", default, skip_serializing_if = "Option::is_none")]
    pub want_num: Option<i64>,
}

/// `account_import`: an account begins to exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportAccount<'a> {
    /// The account. Older clients call the field `Identifier`.
    #[serde(rename = "UserID", alias = "Identifier", borrow)]
    pub account: Name<'a>,
}

/// `multiaccount_import`: accounts begin to exist. Either field, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportAccounts<'a> {
    /// The older form.
    #[serde(rename = "Accounts", borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Name<'a>>,
    /// The newer form.
    #[serde(rename = "AccountList", borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<AccountItem<'a>>,
}

/// An account of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountItem<'a> {
    /// The account.
    #[serde(rename = "UserID", alias = "Identifier", borrow)]
    pub account: Name<'a>,
}

/// `account_delete`: accounts go, with all their follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteItem<'a> {
    /// At most 100.
    #[serde(rename = "DeleteItem", borrow)]
    pub accounts: Vec<AccountItem<'a>>,
}

/// `account_check`: which accounts exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountList<'a> {
    /// At most 100.
    #[serde(rename = "CheckItem", borrow)]
    pub accounts: Vec<AccountItem<'a>>,
}
