"""What clients and a server say to each other, as data for the tests of both languages.

`STORY` is told from front to back to an app that has no accounts yet. A request goes out byte for
byte as it stands here. An answer has all members, their types and their order; what nobody can know
beforehand stands as a placeholder:

    <text>    any text that is not empty
    <time>    the Unix time of a moment ago
    <cursor>  a `NextCursor`; in a later request, the last one that came
"""

import json

ACCOUNT_DONE = {"ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": ""}
FOLLOW_DONE = {**ACCOUNT_DONE, "ErrorDisplay": ""}
IMPORTED = {"ActionStatus": "OK", "ErrorInfo": "", "ErrorCode": 0}
NONE_FAILED = {"FailAccounts": []}

# The published sample of this one has the members in the order that stands here, and the server has
# that of all others. Clients read members by name. A test fails as soon as a name is here without
# need.
OTHER_ORDER = ["account_import"]

STORY = []


def path_of(command):
    service = "follow" if command.startswith("follow") else "im_open_login_svc"
    return f"/v4/{service}/{command}"


def exchange(title, command, request, answer):
    STORY.append(
        {
            "title": title,
            "command": command,
            "path": path_of(command),
            "request": request.strip("\n"),
            "answer": answer,
        }
    )


def done(title, command, request, payload):
    """The command is carried out. A follow command has its payload before the envelope."""
    if command.startswith("follow"):
        answer = {**payload, **FOLLOW_DONE}
    else:
        answer = {**ACCOUNT_DONE, **payload}
    exchange(title, command, request, answer)


def refused(title, command, request, code):
    """The command is refused as a whole."""
    answer = {"ActionStatus": "FAIL", "ErrorCode": code, "ErrorInfo": "<text>"}
    if command.startswith("follow"):
        answer["ErrorDisplay"] = ""
    exchange(title, command, request, answer)


def item(to, code, **more):
    info = "<text>" if code else ""
    return {"To_Account": to, "ResultCode": code, "ResultInfo": info, **more}


def results(*items):
    """Of follow_add and follow_delete: pairs of an account and a code."""
    return {"ResultItem": [item(to, code) for to, code in items]}


def relations(*items):
    """Of follow_check: an account, its code, and how the two stand to each other."""
    return {"ResultItem": [item(to, code, FollowType=kind) for to, code, kind in items]}


def counts(*items):
    """Of follow_get_info: an account, its code, and its three counts."""
    return {
        "FollowInfo": [
            item(
                to,
                code,
                FollowerCount=followers,
                FollowingCount=following,
                MutualFollowingCount=mutual,
            )
            for to, code, followers, following, mutual in items
        ]
    }


def page(accounts, cursor=""):
    """A page of a list. The server keeps no profiles, so they are empty, and their number is 0."""
    no_profile = {"FollowTime": "<time>", "ProfileItem": [], "profile_sequence": 0}
    items = [{"To_Account": to, **no_profile} for to in accounts]
    return {"FollowItem": items, "NextCursor": cursor}


def deleted(*items):
    """Of account_delete: pairs of an account and whether it was there."""
    there = {"ResultCode": 0, "ResultInfo": ""}
    missing = {"ResultCode": 70107, "ResultInfo": "Err_TLS_PT_Open_Login_Account_Not_Exist"}
    return {
        "ResultItem": [
            {**(there if was_there else missing), "UserID": account}
            for account, was_there in items
        ]
    }


def checked(*items):
    """Of account_check: pairs of an account and whether it is there."""
    return {
        "ResultItem": [
            {
                "UserID": account,
                "ResultCode": 0,
                "ResultInfo": "",
                "AccountStatus": "Imported" if is_there else "NotImported",
            }
            for account, is_there in items
        ]
    }


def named(count):
    return [f"account{number}" for number in range(count)]


def samples_of_the_account_pages():
    done(
        "the sample of multiaccount_import, older form",
        "multiaccount_import",
        """
{
    "Accounts": [
        "UserID_001",
        "UserID_002",
        "UserID_003"
    ]
}
""",
        NONE_FAILED,
    )
    done(
        "the sample of multiaccount_import, newer form, which names an account twice",
        "multiaccount_import",
        """
{
    "AccountList": [
        {
            "UserID": "UserID_001",
            "Nick": "Nick_001",
            "FaceUrl": "http://example.com/001.png"
        },
        {
            "UserID": "UserID_002",
            "Nick": "Nick_002",
            "FaceUrl": "http://example.com/002.png"
        },
        {
            "UserID": "UserID_002",
            "Nick": "Nick_002"
        }
    ]
}
""",
        NONE_FAILED,
    )
    for title in ["the sample of account_import", "the sample of account_import again"]:
        exchange(
            title,
            "account_import",
            """
{
    "UserID":"test",
    "Nick":"test",
    "FaceUrl":"http://example.com/test.png"
}
""",
            IMPORTED,
        )
    exchange(
        "the older name of the member",
        "account_import",
        '{"Identifier":"UserID_1"}',
        IMPORTED,
    )
    done(
        "the sample of account_check",
        "account_check",
        """
{
    "CheckItem":
    [
        {
            "UserID":"UserID_1"
        },
        {
            "UserID":"UserID_2"
        }
    ]
}
""",
        checked(("UserID_1", True), ("UserID_2", False)),
    )
    done(
        "the sample of account_delete",
        "account_delete",
        """
{
    "DeleteItem":
    [
        {
            "UserID":"UserID_1"
        },
        {
            "UserID":"UserID_2"
        }
    ]
}
""",
        deleted(("UserID_1", True), ("UserID_2", False)),
    )
    done(
        "what was deleted is not there",
        "account_check",
        '{"CheckItem":[{"UserID":"UserID_1"},{"UserID":"test"}]}',
        checked(("UserID_1", False), ("test", True)),
    )


def samples_of_the_follow_pages():
    done(
        "the sample of follow_check, while nobody follows anybody",
        "follow_check",
        """
{
    "From_Account": "UserID_001",
    "To_Account": [
        "UserID_002",
        "UserID_003"
    ]
}
""",
        relations(("UserID_002", 0, 0), ("UserID_003", 0, 0)),
    )
    done(
        "the sample of follow_add",
        "follow_add",
        """
{
    "From_Account":"UserID_001",
    "FollowItem":
    [
        {
            "To_Account":"UserID_002"
        },
        {
            "To_Account":"UserID_003"
        }
    ]
}
""",
        results(("UserID_002", 0), ("UserID_003", 0)),
    )
    done(
        "the sample of follow_get_info",
        "follow_get_info",
        """
{
    "From_Account":"UserID_001",
    "To_Account":["UserID_001", "UserID_002", "UserID_003"]
}
""",
        counts(("UserID_001", 0, 0, 2, 0), ("UserID_002", 0, 1, 0, 0), ("UserID_003", 0, 1, 0, 0)),
    )
    sample_of_follow_get()
    done(
        "the sample of follow_delete",
        "follow_delete",
        """
{
    "From_Account":"UserID_001",
    "To_Account":["UserID_002", "UserID_003"]
}
""",
        results(("UserID_002", 0), ("UserID_003", 0)),
    )
    done(
        "their followers are left",
        "follow_get_info",
        '{"From_Account":"UserID_001","To_Account":["UserID_001","UserID_002","UserID_003"]}',
        counts(("UserID_001", 0, 2, 0, 0), ("UserID_002", 0, 0, 1, 0), ("UserID_003", 0, 0, 1, 0)),
    )


def sample_of_follow_get():
    # The sample answer names UserID_002 before UserID_003, and the newest is the first here.
    for follower in ["UserID_003", "UserID_002"]:
        done(
            f"{follower} follows back",
            "follow_add",
            f'{{"From_Account":"{follower}","FollowItem":[{{"To_Account":"UserID_001"}}]}}',
            results(("UserID_001", 0)),
        )
    refused(
        "the sample of follow_get, with the comma that JSON does not have",
        "follow_get",
        """
{
    "From_Account":"UserID_001",
    "FollowType":1,
    "StartCursor":"",
    "WantNum":100,
}
""",
        60003,
    )
    done(
        "the sample of follow_get without that comma",
        "follow_get",
        """
{
    "From_Account":"UserID_001",
    "FollowType":1,
    "StartCursor":"",
    "WantNum":100
}
""",
        page(["UserID_002", "UserID_003"]),
    )


def relations_of_all_kinds():
    done(
        "accounts for the rest",
        "multiaccount_import",
        '{"Accounts":["alice","bob"],"AccountList":[{"UserID":"carol"},{"UserID":"dave"}]}',
        NONE_FAILED,
    )
    done(
        "alice follows two",
        "follow_add",
        '{"From_Account":"alice","FollowItem":[{"To_Account":"bob"},{"To_Account":"carol"}]}',
        results(("bob", 0), ("carol", 0)),
    )
    for follower in ["carol", "dave"]:
        done(
            f"{follower} follows alice",
            "follow_add",
            f'{{"From_Account":"{follower}","FollowItem":[{{"To_Account":"alice"}}]}}',
            results(("alice", 0)),
        )
    done(
        "FollowType 0, 1, 2 and 3, oneself, and nobody",
        "follow_check",
        '{"From_Account":"alice","To_Account":["test","dave","bob","carol","alice","nobody"]}',
        relations(
            ("test", 0, 0),
            ("dave", 0, 1),
            ("bob", 0, 2),
            ("carol", 0, 3),
            ("alice", 0, 0),
            ("nobody", 30003, 0),
        ),
    )
    done(
        "counts of oneself, of another twice, and of nobody",
        "follow_get_info",
        '{"From_Account":"bob","To_Account":["bob","alice","nobody","alice"]}',
        counts(
            ("bob", 0, 1, 0, 0),
            ("alice", 0, 2, 2, 1),
            ("nobody", 30003, 0, 0, 0),
            ("alice", 0, 2, 2, 1),
        ),
    )
    done(
        "followed already, oneself, nobody, and what cannot be an account",
        "follow_add",
        '{"From_Account":"alice","FollowItem":[{"To_Account":"bob"},{"To_Account":"alice"},'
        '{"To_Account":"nobody"},{"To_Account":""}]}',
        results(("bob", 0), ("alice", 30001), ("nobody", 30003), ("", 30002)),
    )
    done(
        "one whom alice does not follow, and nobody",
        "follow_delete",
        '{"From_Account":"alice","To_Account":["dave","nobody"]}',
        results(("dave", 0), ("nobody", 30003)),
    )
    done(
        "alice follows nobody any more",
        "follow_delete",
        '{"From_Account":"alice","To_Account":["bob","carol"]}',
        results(("bob", 0), ("carol", 0)),
    )
    done(
        "of whom she followed, one follows her still",
        "follow_check",
        '{"From_Account":"alice","To_Account":["bob","carol","dave"]}',
        relations(("bob", 0, 0), ("carol", 0, 1), ("dave", 0, 1)),
    )


def pages_of_lists():
    fans = [f"fan{number}" for number in range(5)]
    star = json.dumps([{"To_Account": fan} for fan in fans])
    done(
        "a star and fans",
        "multiaccount_import",
        json.dumps({"Accounts": ["star", *fans]}),
        NONE_FAILED,
    )
    done(
        "the star follows the fans",
        "follow_add",
        f'{{"From_Account":"star","FollowItem":{star}}}',
        results(*((fan, 0) for fan in fans)),
    )
    for fan in fans:
        done(
            f"{fan} follows the star",
            "follow_add",
            f'{{"From_Account":"{fan}","FollowItem":[{{"To_Account":"star"}}]}}',
            results(("star", 0)),
        )
    for follow_type, of_what in [(1, "followers"), (2, "following"), (3, "mutual follows")]:
        three_pages(follow_type, of_what)
    refused(
        "a cursor of the list of another",
        "follow_get",
        '{"From_Account":"fan1","FollowType":3,"StartCursor":"<cursor>","WantNum":2}',
        30001,
    )
    done(
        "without StartCursor and WantNum",
        "follow_get",
        '{"From_Account":"star","FollowType":2}',
        page(["fan4", "fan3", "fan2", "fan1", "fan0"]),
    )
    done(
        "more than a page may have",
        "follow_get",
        '{"From_Account":"fan0","FollowType":3,"StartCursor":"","WantNum":1001}',
        page(["star"]),
    )


def three_pages(follow_type, of_what):
    for cursor, accounts, next_cursor in [
        ("", ["fan4", "fan3"], "<cursor>"),
        ("<cursor>", ["fan2", "fan1"], "<cursor>"),
        ("<cursor>", ["fan0"], ""),
    ]:
        done(
            f"a page of the {of_what} with {len(accounts)} from {accounts[0]} on",
            "follow_get",
            f'{{"From_Account":"star","FollowType":{follow_type},'
            f'"StartCursor":"{cursor}","WantNum":2}}',
            page(accounts, next_cursor),
        )


def accounts_that_go():
    done(
        "an account goes, and one that was never there",
        "account_delete",
        '{"DeleteItem":[{"UserID":"fan2"},{"UserID":"fan2"}]}',
        deleted(("fan2", True), ("fan2", False)),
    )
    done(
        "its follows are gone with it, in both directions",
        "follow_get_info",
        '{"From_Account":"star","To_Account":["star","fan2","fan1"]}',
        counts(("star", 0, 4, 4, 4), ("fan2", 30003, 0, 0, 0), ("fan1", 0, 1, 1, 1)),
    )
    for follow_type in [1, 2, 3]:
        done(
            f"and from the list with FollowType {follow_type}",
            "follow_get",
            f'{{"From_Account":"star","FollowType":{follow_type},"StartCursor":""}}',
            page(["fan4", "fan3", "fan1", "fan0"]),
        )
    refused(
        "it asks no more",
        "follow_check",
        '{"From_Account":"fan2","To_Account":["star"]}',
        30003,
    )
    exchange(
        "it may be imported again",
        "account_import",
        '{"UserID":"fan2"}',
        IMPORTED,
    )
    done(
        "and follows nobody",
        "follow_check",
        '{"From_Account":"fan2","To_Account":["star"]}',
        relations(("star", 0, 0)),
    )


def names_beyond_ascii():
    done(
        "as UTF-8, with spaces, and as long as a name may be",
        "multiaccount_import",
        f'{{"Accounts":["李娜","a b","{"x" * 32}","{"x" * 33}","{"é" * 17}"]}}',
        {"FailAccounts": ["x" * 33, "é" * 17]},
    )
    done(
        "escaped is the same name",
        "follow_add",
        r'{"From_Account":"\u674e\u5a1c","FollowItem":[{"To_Account":"a\u0020b"}]}',
        results(("a b", 0)),
    )
    done(
        "and is answered as UTF-8",
        "follow_get",
        '{"From_Account":"a b","FollowType":1,"StartCursor":"","WantNum":1}',
        page(["李娜"]),
    )


def refusals_of_follow_commands():
    for command, count in [("follow_delete", 21), ("follow_check", 101), ("follow_get_info", 21)]:
        accounts = json.dumps(named(count))
        for title, request, code in [
            (f"{count} accounts", f'{{"From_Account":"alice","To_Account":{accounts}}}', 30001),
            ("no accounts", '{"From_Account":"alice","To_Account":[]}', 30001),
            ("an account that is a number", '{"From_Account":"alice","To_Account":[7]}', 60015),
            ("without From_Account", '{"To_Account":["bob"]}', 30001),
            ("of nobody", '{"From_Account":"nobody","To_Account":["bob"]}', 30003),
            ("a name in another case", '{"from_account":"alice","To_Account":["bob"]}', 30001),
        ]:
            refused(f"{title}, {command}", command, request, code)
    items = json.dumps([{"To_Account": name} for name in named(21)])
    for title, request, code in [
        ("21 accounts", f'{{"From_Account":"alice","FollowItem":{items}}}', 30001),
        ("strings instead of objects", '{"From_Account":"alice","FollowItem":["bob"]}', 30001),
        ("the member of follow_delete", '{"From_Account":"alice","To_Account":["bob"]}', 30001),
        ("a number asks", '{"From_Account":1,"FollowItem":[{"To_Account":"bob"}]}', 60015),
        ("nothing at all", "", 60003),
        ("an empty object", "{}", 30001),
        ("an array", "[]", 60003),
    ]:
        refused(f"{title}, follow_add", "follow_add", request, code)
    for title, members in [
        ("FollowType 0", '"FollowType":0'),
        ("FollowType 4", '"FollowType":4'),
        ("FollowType as text", '"FollowType":"1"'),
        ("no FollowType", '"WantNum":1'),
        ("a negative WantNum", '"FollowType":1,"WantNum":-1'),
        ("what is no cursor", '"FollowType":1,"StartCursor":"?"'),
    ]:
        refused(title, "follow_get", f'{{"From_Account":"alice",{members}}}', 30001)
    done(
        "100 accounts, of which there is none",
        "follow_check",
        json.dumps({"From_Account": "alice", "To_Account": named(100)}),
        relations(*((name, 30003, 0) for name in named(100))),
    )


def refusals_of_account_commands():
    items = json.dumps([{"UserID": name} for name in named(101)])
    for command, request, code in [
        ("account_import", '{"Nick":"nobody"}', 70402),
        ("account_import", f'{{"UserID":"{"x" * 33}"}}', 70402),
        ("account_import", '{"UserID":7}', 60015),
        ("multiaccount_import", "{}", 70402),
        ("multiaccount_import", json.dumps({"Accounts": named(101)}), 70402),
        ("account_delete", '{"DeleteItem":[]}', 70402),
        ("account_delete", f'{{"DeleteItem":{items}}}', 70402),
        ("account_check", f'{{"CheckItem":{items}}}', 70402),
        ("account_check", '{"CheckItem":[{"UserID":"alice"},]}', 60003),
    ]:
        refused(f"what is refused: {request:.40}, {command}", command, request, code)


samples_of_the_account_pages()
samples_of_the_follow_pages()
relations_of_all_kinds()
pages_of_lists()
accounts_that_go()
names_beyond_ascii()
refusals_of_follow_commands()
refusals_of_account_commands()

# Changes nothing and is answered the same at any time of the story.
QUESTION = {
    "path": path_of("account_check"),
    "request": '{"CheckItem":[{"UserID":"stranger"}]}',
    "answer": {**ACCOUNT_DONE, **checked(("stranger", False))},
}

UNKNOWN_PATHS = [
    "/v4/follow/follow_everybody",
    "/v4/follow/follow_Add",
    "/v4/follow/account_check",
    "/v4/im_open_login_svc/account_export",
    "/v4/follow/",
]
