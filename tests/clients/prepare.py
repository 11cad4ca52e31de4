"""Writes what the server and the tests for Node.js read: `python prepare.py DIRECTORY`.

That is a configuration with an app for each round of the tests, and all tables as JSON.
"""

import json
import pathlib
import sys

import exchanges
import tickets

CONFIGURATION = """\
http = "127.0.0.1:0"

[https]
listen = "127.0.0.1:0"
certificate_file = "certificate.pem"
key_file = "key.pem"
"""

APP = """
[[app]]
sdkappid = {app}
graph = "graph-{app}"
keys = [{{ file = "key" }}]
"""


def main():
    directory = pathlib.Path(sys.argv[1])
    apps = [tickets.PUBLISHED_APP, *tickets.APPS.values()]
    configuration = CONFIGURATION + "".join(APP.format(app=app) for app in apps)
    (directory / "server.toml").write_text(configuration, encoding="utf-8")
    (directory / "key").write_text(tickets.KEY, encoding="utf-8")
    (directory / "key").chmod(0o600)
    tables = {
        "key": tickets.KEY,
        "apps": tickets.APPS,
        "otherOrder": exchanges.OTHER_ORDER,
        "story": exchanges.STORY,
        "question": exchanges.QUESTION,
        "unknownPaths": exchanges.UNKNOWN_PATHS,
        "contentTypes": tickets.CONTENT_TYPES,
        "randoms": tickets.RANDOMS,
        "tickets": tickets.TICKETS,
    }
    (directory / "exchanges.json").write_text(json.dumps(tables), encoding="utf-8")


if __name__ == "__main__":
    main()
