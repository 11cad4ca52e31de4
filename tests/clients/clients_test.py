"""Published clients in Python ask a running server: `requests`, and `httpx` with HTTP/2 over HTTPS,
with tickets of the `tls-sig-api-v2` of PyPI.

`scripts/clients-test` starts the server and says in the environment where it answers.
"""

import base64
import dataclasses
import hmac
import http.client
import itertools
import json
import os
import pathlib
import ssl
import subprocess
import time
import unittest
import urllib.parse
import zlib

import httpx
import requests
from TLSSigAPIv2 import TLSSigAPIv2

import exchanges
import tickets

WORK = pathlib.Path(os.environ["FOLLOWGRAPH_WORK"])
CERTIFICATE = WORK / "certificate.pem"
ADMIN = "administrator"
ANSWER_SECONDS = 10
TO_PLAIN_BASE64 = str.maketrans("*-_", "+/=")
# The story takes seconds; an older time is not that of a follow in it.
STORY_SECONDS = 120


@dataclasses.dataclass
class Reply:
    status: int
    headers: dict
    body: bytes
    version: str
    sent_url: str
    sent_content_type: str | None


class Requests:
    """As most published clients in Python do it."""

    versions = {"http": "HTTP/1.1", "https": "HTTP/1.1"}
    refuses_certificate = requests.exceptions.SSLError

    def __init__(self, certificate=CERTIFICATE):
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(certificate) if certificate else True

    def send(self, method, url, body, headers):
        answer = self.session.request(
            method, url, data=body, headers=headers, timeout=ANSWER_SECONDS
        )
        return Reply(
            answer.status_code,
            answer.headers,
            answer.content,
            {10: "HTTP/1.0", 11: "HTTP/1.1"}[answer.raw.version],
            answer.request.url,
            answer.request.headers.get("Content-Type"),
        )

    def close(self):
        self.session.close()


class Httpx:
    """A client that speaks HTTP/2 where the server offers it."""

    versions = {"http": "HTTP/1.1", "https": "HTTP/2"}
    refuses_certificate = httpx.ConnectError

    def __init__(self, certificate=CERTIFICATE):
        verify = ssl.create_default_context(cafile=certificate)
        self.client = httpx.Client(
            http2=True, verify=verify, trust_env=False, timeout=ANSWER_SECONDS
        )

    def send(self, method, url, body, headers):
        answer = self.client.request(method, url, content=body, headers=headers)
        return Reply(
            answer.status_code,
            answer.headers,
            answer.content,
            answer.http_version,
            str(answer.request.url),
            answer.request.headers.get("Content-Type"),
        )

    def close(self):
        self.client.close()


def make_ticket(app, identifier=ADMIN, key=tickets.KEY, seconds=3600, userbuf=False):
    api = TLSSigAPIv2(app, key)
    if userbuf:
        return api.gen_sig_with_userbuf(identifier, seconds, bytes(range(40)))
    return api.gen_sig(identifier, seconds)


def ticket_with_all_signs(app):
    """A ticket that has each of the signs which stand for others in plain base64."""
    for seconds in itertools.count(3600):
        ticket = make_ticket(app, seconds=seconds)
        if all(sign in ticket for sign in "*-_"):
            return ticket


def fill(expected, actual):
    """The expected answer, with what came for each placeholder that it fits."""
    if isinstance(expected, dict):
        known = actual if isinstance(actual, dict) else {}
        return {name: fill(value, known.get(name)) for name, value in expected.items()}
    if isinstance(expected, list):
        known = actual if isinstance(actual, list) else []
        pairs = itertools.zip_longest(expected, known[: len(expected)])
        return [fill(value, found) for value, found in pairs]
    if expected in ("<text>", "<cursor>"):
        return actual if isinstance(actual, str) and actual else expected
    if expected == "<time>":
        is_recent = type(actual) is int and 0 <= time.time() - actual <= STORY_SECONDS
        return actual if is_recent else expected
    return expected


class Round:
    """What every client asks, over HTTP and over HTTPS, each time of an app of its own."""

    client = None
    name = None

    @classmethod
    def setUpClass(cls):
        cls.scheme = "https" if cls.name.endswith("HTTPS") else "http"
        cls.origin = os.environ[f"FOLLOWGRAPH_{cls.scheme.upper()}"]
        cls.app = tickets.APPS[cls.name]
        cls.usersig = make_ticket(cls.app)

    def setUp(self):
        self.http = self.client()

    def tearDown(self):
        self.http.close()

    def query(self, **changes):
        query = {
            "sdkappid": self.app,
            "identifier": ADMIN,
            "usersig": self.usersig,
            "random": 99999999,
            "contenttype": "json",
            **changes,
        }
        return {name: value for name, value in query.items() if value is not None}

    def send(self, path, request, query=None, method="POST", content_type=None):
        """Sends a request; a query that is a text goes out as it is."""
        if not isinstance(query, str):
            query = urllib.parse.urlencode(self.query() if query is None else query)
        headers = {"Content-Type": content_type} if content_type else {}
        reply = self.http.send(method, f"{self.origin}{path}?{query}", request, headers)
        self.assertEqual(reply.sent_content_type, content_type)
        self.check_head(reply)
        return reply

    def check_head(self, reply):
        self.assertEqual(reply.status, 200)
        self.assertEqual(reply.version, self.client.versions[self.scheme])
        self.assertEqual(reply.headers["Content-Type"], "application/json")
        self.assertEqual(int(reply.headers["Content-Length"]), len(reply.body))
        self.assertEqual(reply.headers["Access-Control-Allow-Origin"], "*")
        self.assertEqual(reply.headers["Access-Control-Allow-Headers"], "X-Requested-With")
        self.assertEqual(reply.headers["Access-Control-Allow-Methods"], "POST")

    def check_answer(self, reply, expected, command):
        actual = json.loads(reply.body)
        expected = fill(expected, actual)
        self.assertEqual(actual, expected)
        has_order = json.dumps(actual) == json.dumps(expected)
        is_exception = actual["ErrorCode"] == 0 and command in exchanges.OTHER_ORDER
        self.assertEqual(has_order, not is_exception, f"the order of {reply.body}")
        return actual

    def ask(self, **how):
        """Asks what can be asked at any time."""
        question = exchanges.QUESTION
        reply = self.send(question["path"], question["request"].encode(), **how)
        self.check_answer(reply, question["answer"], "account_check")
        return reply

    def ask_in_vain(self, code, path=exchanges.QUESTION["path"], **how):
        """Asks what is refused before its body is looked at."""
        reply = self.send(path, exchanges.QUESTION["request"].encode(), **how)
        actual = json.loads(reply.body)
        self.assertEqual((actual["ActionStatus"], actual["ErrorCode"]), ("FAIL", code))
        self.assertNotEqual(actual["ErrorInfo"], "")

    def test_the_story_of_all_commands(self):
        cursor = ""
        for step in exchanges.STORY:
            # The steps build on each other, so the first that fails ends it.
            request = step["request"].replace("<cursor>", cursor).encode()
            try:
                reply = self.send(step["path"], request)
                actual = self.check_answer(reply, step["answer"], step["command"])
            except AssertionError as error:
                raise AssertionError(f"{step['title']}: {request}: {error}") from None
            cursor = actual.get("NextCursor") or cursor

    def test_tickets(self):
        for row in tickets.TICKETS:
            with self.subTest(row["title"]):
                usersig = make_ticket(**{"app": self.app, **row["ticket"]})
                query = self.query(**{"usersig": usersig, **row["query"]})
                if row["code"] == 0:
                    self.ask(query=query)
                else:
                    self.ask_in_vain(row["code"], query=query)

    def test_a_ticket_expires_while_it_is_used(self):
        usersig = make_ticket(self.app, seconds=3)
        self.ask(query=self.query(usersig=usersig))
        time.sleep(3.1)
        self.ask_in_vain(70001, query=self.query(usersig=usersig))

    def test_unknown_commands(self):
        for path in exchanges.UNKNOWN_PATHS:
            with self.subTest(path):
                self.ask_in_vain(60009, path=path)

    def test_whatever_the_content_type(self):
        for content_type in tickets.CONTENT_TYPES:
            with self.subTest(content_type):
                self.ask(content_type=content_type)

    def test_whatever_the_random(self):
        for random in tickets.RANDOMS:
            with self.subTest(random):
                self.ask(query=self.query(random=random))

    def test_asterisks_with_percent_and_without(self):
        query = self.query(usersig=ticket_with_all_signs(self.app))
        reply = self.ask(query=urllib.parse.urlencode(query))
        self.assertIn("%2A", reply.sent_url)
        reply = self.ask(query=urllib.parse.urlencode(query, safe="*"))
        self.assertIn("*", reply.sent_url)

    def test_a_ticket_in_plain_base64(self):
        usersig = ticket_with_all_signs(self.app).translate(TO_PLAIN_BASE64)
        query = urllib.parse.urlencode(self.query(usersig=usersig), safe="+/=")
        self.assertIn(usersig, self.ask(query=query).sent_url)
        self.ask(query=self.query(usersig=usersig))

    def test_parameters_in_another_order(self):
        self.ask(query=dict(reversed(self.query().items())))

    def test_account_check_with_get(self):
        self.ask(method="GET")

    def test_get_of_anything_else(self):
        for path in ["/elsewhere", exchanges.path_of("follow_get_info")]:
            reply = self.send(path, None, method="GET")
            actual = json.loads(reply.body)
            self.assertEqual((actual["ActionStatus"], actual["ErrorCode"]), ("FAIL", 60002))


class HttpsRound(Round):
    def test_the_certificate_is_looked_at(self):
        stranger = self.client(certificate=None)
        self.addCleanup(stranger.close)
        with self.assertRaises(self.client.refuses_certificate) as caught:
            stranger.send("GET", self.origin, None, {})
        self.assertIn("CERTIFICATE_VERIFY_FAILED", str(caught.exception))


class RequestsOverHttp(Round, unittest.TestCase):
    client = Requests
    name = "requests over HTTP"


class RequestsOverHttps(HttpsRound, unittest.TestCase):
    client = Requests
    name = "requests over HTTPS"


class HttpxOverHttp(Round, unittest.TestCase):
    client = Httpx
    name = "httpx over HTTP"


class HttpxOverHttps(HttpsRound, unittest.TestCase):
    client = Httpx
    name = "httpx over HTTPS"


def read_ticket(ticket, key=tickets.KEY):
    """A reading of tickets that shares nothing with the server."""
    deflated = base64.b64decode(ticket.translate(TO_PLAIN_BASE64), validate=True)
    document = json.loads(zlib.decompress(deflated))
    signed = ["identifier", "sdkappid", "time", "expire"]
    if "TLS.userbuf" in document:
        signed.append("userbuf")
    content = "".join(f"TLS.{name}:{document['TLS.' + name]}\n" for name in signed)
    signature = base64.b64encode(hmac.digest(key.encode(), content.encode(), "sha256"))
    if signature.decode() != document["TLS.sig"]:
        raise ValueError("the signature is of another key")
    return document


class Connections(unittest.TestCase):
    """A client that sends the head of a request and its body apart, as `http.client` does."""

    def test_a_refusal_before_the_body_has_come(self):
        origin = urllib.parse.urlsplit(os.environ["FOLLOWGRAPH_HTTP"])
        client = http.client.HTTPConnection(origin.netloc, timeout=ANSWER_SECONDS)
        self.addCleanup(client.close)
        for _ in range(2):
            body = exchanges.QUESTION["request"].encode()
            client.putrequest("POST", exchanges.QUESTION["path"])
            client.putheader("Content-Length", str(len(body)))
            client.endheaders()
            time.sleep(0.2)
            client.send(body)
            answer = client.getresponse()
            self.assertEqual(json.loads(answer.read())["ErrorCode"], 60012)
            if answer.will_close:
                break


class OwnTickets(unittest.TestCase):
    """Tickets that `followgraph usersig` makes, read by others."""

    def make(self, *arguments, environment=None):
        command = [os.environ["FOLLOWGRAPH_BIN"], "usersig", *arguments]
        made = subprocess.run(
            command, env=environment, capture_output=True, check=True, timeout=ANSWER_SECONDS
        )
        return made.stdout.decode("ascii").removesuffix("\n")

    def check(self, ticket, app, identifier, seconds):
        document = read_ticket(ticket)
        self.assertLessEqual(abs(time.time() - document.pop("TLS.time")), ANSWER_SECONDS)
        del document["TLS.sig"]
        expected = {
            "TLS.ver": "2.0",
            "TLS.identifier": identifier,
            "TLS.sdkappid": app,
            "TLS.expire": seconds,
        }
        self.assertEqual(document, expected)

    def test_the_reading_is_right(self):
        app = tickets.PUBLISHED_APP
        for userbuf in [False, True]:
            document = read_ticket(make_ticket(app, userbuf=userbuf))
            self.assertEqual(document["TLS.identifier"], ADMIN)
            with self.assertRaises(ValueError):
                read_ticket(make_ticket(app, userbuf=userbuf, key=tickets.OTHER_KEY))
        for ticket, signature in tickets.PUBLISHED_SIGNATURES.items():
            self.assertEqual(read_ticket(ticket)["TLS.sig"], signature)

    def test_with_a_key_file(self):
        arguments = ["--app", "1400000000", "--key-file", str(WORK / "key"), "--days", "1"]
        self.check(self.make(*arguments), 1400000000, ADMIN, 86400)

    def test_with_a_key_of_the_environment(self):
        environment = {"FOLLOWGRAPH_KEY": tickets.KEY}
        arguments = ["--app", "4294967295", "--identifier", "李娜"]
        ticket = self.make(*arguments, environment=environment)
        self.check(ticket, 4294967295, "李娜", 180 * 86400)

    def test_it_is_good_for_a_request(self):
        question = exchanges.QUESTION
        app = tickets.PUBLISHED_APP
        ticket = self.make("--app", str(app), "--key-file", str(WORK / "key"))
        query = f"sdkappid={app}&identifier={ADMIN}&usersig={ticket}&random=1&contenttype=json"
        url = f"{os.environ['FOLLOWGRAPH_HTTP']}{question['path']}?{query}"
        client = Requests()
        reply = client.send("POST", url, question["request"].encode(), {})
        self.assertEqual(json.loads(reply.body), question["answer"])
        client.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
