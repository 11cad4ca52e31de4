//! Recognizes a line that names the columns of an edge list instead of being an edge.

use super::lines::Reason;

/// Which columns of a list are which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) at: Option<usize>,
    /// How many columns there are, with those that are left out.
    pub(super) count: usize,
}

/// What the first line of a list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstLine {
    /// An edge, as far as one can tell.
    Edge,
    /// The names of the columns.
    Header(Columns),
    /// Names of columns, some of which are not known.
    UnknownColumn,
}

pub(super) const HEADER: Reason = Reason::new("this line is taken for a header, not for a follow");
pub(super) const UNKNOWN_COLUMN: Reason = Reason::new(
    "the header names a column that is not known, and that may change what a line says",
)
.hint("leave out all columns but `from`, `to` and `time`");

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    From,
    To,
    /// Whichever of both the other column is not.
    Account,
    Time,
    Ignored,
}

/// What columns are called, in lower case and without spaces and punctuation.
const ROLES: &[(Role, &[&str])] = &[
    (
        Role::From,
        &[
            "from",
            "fromid",
            "fromnode",
            "fromnodeid",
            "fromuser",
            "fromuserid",
            "fromaccount",
            "source",
            "sourceid",
            "sourcenode",
            "sourceaccount",
            "sourceuser",
            "sourceuserid",
            "src",
            "follower",
            "followerid",
            "followers",
            "followersid",
            "followedby",
            "followedbyid",
            "followedbyuserid",
            "followername",
            "followeruserid",
        ],
    ),
    (
        Role::To,
        &[
            "to",
            "toid",
            "tonode",
            "tonodeid",
            "touser",
            "touserid",
            "toaccount",
            "target",
            "targetid",
            "targetnode",
            "targetaccount",
            "targetuser",
            "targetuserid",
            "dst",
            "dest",
            "destination",
            "followed",
            "followedid",
            "followedname",
            "followeduserid",
            "followee",
            "followeeid",
            "following",
            "followingid",
            "followinguserid",
            "follows",
            "followsid",
            "followsuserid",
            "followings",
            "followees",
            "friend",
            "friendid",
            "friends",
        ],
    ),
    (Role::Account, &["user", "userid", "username", "account", "accountid", "member", "memberid"]),
    (
        Role::Time,
        &[
            "time",
            "timestamp",
            "unixtime",
            "at",
            "date",
            "datetime",
            "created",
            "createdat",
            "createtime",
            "followedat",
            "followtime",
            "since",
            "ts",
        ],
    ),
    (Role::Ignored, &["id", "edgeid", "weight"]),
];

fn role(name: &str) -> Option<Role> {
    let plain = name.to_ascii_lowercase().replace([' ', '_', '-', '.', ':'], "");
    ROLES.iter().find(|(_, names)| names.contains(&plain.as_str())).map(|(role, _)| *role)
}

/// Tells whether the fields of a first line are the names of columns.
pub(super) fn read(fields: &[impl AsRef<str>]) -> FirstLine {
    let roles: Vec<_> = fields.iter().map(|field| role(field.as_ref())).collect();
    let places = |wanted: Role| {
        let mut places = (0..roles.len()).filter(|place| roles[*place] == Some(wanted));
        (places.next(), places.next())
    };
    let ends = match (places(Role::From), places(Role::To), places(Role::Account)) {
        ((Some(from), None), (Some(to), None), (None, _))
        | ((Some(from), None), (None, _), (Some(to), None))
        | ((None, _), (Some(to), None), (Some(from), None)) => Some((from, to)),
        _ => None,
    };
    let Some((from, to)) = ends else {
        return FirstLine::Edge;
    };
    // A number names no column: that is the time of a follow between accounts with such names.
    let is_number = |field: &str| field.bytes().all(|byte| byte.is_ascii_digit());
    if fields.iter().any(|field| !field.as_ref().is_empty() && is_number(field.as_ref())) {
        return FirstLine::Edge;
    }
    let (at, second_time) = places(Role::Time);
    if second_time.is_some() || roles.contains(&None) {
        return FirstLine::UnknownColumn;
    }
    FirstLine::Header(Columns { from, to, at, count: fields.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_names_who_follows_and_who_is_followed() {
        let columns = |from, to, at, count| FirstLine::Header(Columns { from, to, at, count });
        let expected = [
            ("source,target", columns(0, 1, None, 2)),
            ("FromNodeId,ToNodeId", columns(0, 1, None, 2)),
            ("user_id,follows", columns(0, 1, None, 2)),
            ("user_id,follows_id,created_at", columns(0, 1, Some(2), 3)),
            ("user,follower", columns(1, 0, None, 2)),
            ("user,followers", columns(1, 0, None, 2)),
            ("user,followed_by", columns(1, 0, None, 2)),
            ("id,Created At,followed,follower", columns(3, 2, Some(1), 4)),
            ("from,to,bob", FirstLine::UnknownColumn),
            ("from,to,time,date", FirstLine::UnknownColumn),
            ("from,to,1332779187", FirstLine::Edge),
            ("to'\u{1f469}\",\u{1f469}source", FirstLine::Edge),
            ("source,bob", FirstLine::Edge),
            ("user,account", FirstLine::Edge),
            ("from,source", FirstLine::Edge),
            ("from,to,user", FirstLine::Edge),
            ("alice,bob", FirstLine::Edge),
            ("", FirstLine::Edge),
        ];
        for (line, first) in expected {
            assert_eq!(read(&line.split(',').collect::<Vec<_>>()), first, "{line}");
        }
    }
}
