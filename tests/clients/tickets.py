"""Apps, and tickets for them with the code that each is answered with, as data."""

KEY = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"
OTHER_KEY = "0000000000000000000000000000000000000000000000000000000000000000"

# The published tickets are for the first app. Each round of the tests has one for itself.
PUBLISHED_APP = 1400000000
ROUNDS = [
    "requests over HTTP",
    "requests over HTTPS",
    "httpx over HTTP",
    "httpx over HTTPS",
    "fetch over HTTP",
    "fetch over HTTPS",
    "node over HTTP",
    "node over HTTPS",
]
APPS = {name: PUBLISHED_APP + number for number, name in enumerate(ROUNDS, 1)}
UNKNOWN_APP = 1499999999

# What published clients say the body is; `None` leaves it to the client.
CONTENT_TYPES = [
    None,
    "text/plain;charset=UTF-8",
    "application/x-www-form-urlencoded",
    "application/json",
    "application/json; charset=utf-8",
    "application/octet-stream",
]

RANDOMS = ["1", "1", "1", "0", "4294967295", "99999999", None]


def ticket(title, code, query=None, **of_what):
    """A question with a ticket made by the library under test.

    `of_what` is what the ticket is for, as far as it is not what the query says: app, identifier,
    key, seconds, userbuf. `query` changes the query; `None` takes a parameter out of it.
    """
    return {"title": title, "code": code, "query": query or {}, "ticket": of_what}


TICKETS = [
    ticket("good", 0),
    ticket("good for half a year", 0, seconds=15552000),
    ticket("with a userbuf", 0, userbuf=True),
    ticket("with a userbuf, of another key", 70009, userbuf=True, key=OTHER_KEY),
    ticket("expired", 70001, seconds=0),
    ticket("expired, with a userbuf", 70001, seconds=0, userbuf=True),
    ticket("of another key", 70009, key=OTHER_KEY),
    ticket("of another key and expired", 70009, key=OTHER_KEY, seconds=0),
    ticket("of another identifier", 70013, identifier="alice"),
    ticket("of an identifier in another case", 70013, identifier="Administrator"),
    ticket("of another app", 70014, app=PUBLISHED_APP),
    ticket("of somebody who is no admin", 60010, {"identifier": "alice"}, identifier="alice"),
    ticket("for an app that is not here", 70020, {"sdkappid": UNKNOWN_APP}, app=UNKNOWN_APP),
    ticket("without sdkappid", 60012, {"sdkappid": None}),
    ticket("with an sdkappid that is no number", 60012, {"sdkappid": "app"}),
    ticket("without identifier", 60025, {"identifier": None}),
    ticket("without usersig", 60025, {"usersig": None}),
    ticket("with an empty usersig", 60025, {"usersig": ""}),
    ticket("with a usersig that cannot be decoded", 70003, {"usersig": "AAAA"}),
    ticket("with another contenttype", 60025, {"contenttype": "xml"}),
    ticket("without contenttype", 0, {"contenttype": None}),
]

# The published tickets, of which the lifetime is over.
PYPI_TICKET = (
    "eJyrVgrxCdYrSy1SslJQMtIzUNJRAItkpqTmlWSmZUIkElNyM-Myi0uKEkvyi2BKilOyEwsKMlOACgxNDKAAKpdaUZBZ"
    "lAqUsTAzgQuWZOaChAzN0RQXZ6aDLKn0cUzVLjcPD00NLS1MCrPM0A*JMLcoNTLMD3HP1M60jCowLDUOKMiLNDOwVaoF"
    "AD4PNPI_"
)
NPM_TICKET = (
    "eJyrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBwokpuZl5mcUlRYkl*UVQBcUp2YkFBZkpSlaGJgZQAJEpycxNVbIy"
    "NEcVTa0oyCxKVbKyMDOBCRVnpitZKVX6OKZql5uHh6aGlhYmhVlm6IdEmFuUGhnmh7hnamdaRhUYlhoHFORFmhnYKtUC"
    "AK0SM5I_"
)
XIAOJUN_TICKET = (
    "eJyrVgrxCdYrSy1SslJQMtIzUNJRAItkpqTmlWSmZUIkKjIT87NK82CSxSnZiQUFmSlAKUMTAyiAyqVWFGQWpYJkTE1N"
    "jRDiJZm5YFFzNPXFmekgG3zKHM1T9D3LzdODi-OKs8vCqpxcAvydnV2SSv2cy03cPcpDnA2SMgu0nUxslWoBHdYzUg__"
)

PUBLISHED_SIGNATURES = {
    PYPI_TICKET: "yLAe+w7WUeUuqbV9h/TX78u21oTGi+i9Zp1u3PpnY60=",
    NPM_TICKET: "yLAe+w7WUeUuqbV9h/TX78u21oTGi+i9Zp1u3PpnY60=",
    XIAOJUN_TICKET: "LvA7d/Iw7gSsnskvVzBDPOCCDbuNCw4GHwTC0bip+B4=",
}


def published(title, code, usersig, **query):
    return ticket(title, code, {"sdkappid": PUBLISHED_APP, "usersig": usersig, **query})


TICKETS += [
    published("published, of PyPI", 70001, PYPI_TICKET),
    published("published, of npm", 70001, NPM_TICKET),
    published("published, of xiaojun", 70001, XIAOJUN_TICKET, identifier="xiaojun"),
    published("published, of xiaojun, used by another", 70013, XIAOJUN_TICKET),
    published("published, used for another app", 70014, PYPI_TICKET, sdkappid=PUBLISHED_APP + 1),
    published("published, cut short", 70003, PYPI_TICKET[:100]),
]
