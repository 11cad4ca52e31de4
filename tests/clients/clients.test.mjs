// Published clients in JavaScript ask a running server: `fetch`, and the modules `node:http` and
// `node:https`, with tickets of the `tls-sig-api-v2` of npm.
//
// `scripts/clients-test` starts the server and says in the environment where it answers. `fetch`
// knows the certificate from NODE_EXTRA_CA_CERTS.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { rootCertificates } from "node:tls";
import { Api } from "tls-sig-api-v2";

const WORK = process.env.FOLLOWGRAPH_WORK;
const TABLES = JSON.parse(readFileSync(join(WORK, "exchanges.json"), "utf8"));
const CERTIFICATE = readFileSync(join(WORK, "certificate.pem"));
const ORIGINS = { HTTP: process.env.FOLLOWGRAPH_HTTP, HTTPS: process.env.FOLLOWGRAPH_HTTPS };
const ADMIN = "administrator";
const ANSWER_MS = 10_000;
// The story takes seconds; an older time is not that of a follow in it.
const STORY_SECONDS = 120;

// Each client takes the method, the URL, the body and the content type, and gives back the status,
// the headers and the body.

const fetchClient = {
  sendsBodyWithGet: false,
  async send(method, url, body, contentType) {
    // Of a text it says itself that it is one, of bytes it says nothing.
    const isText = contentType === "text/plain;charset=UTF-8";
    const answer = await fetch(url, {
      method,
      body: isText || body === null ? body : new TextEncoder().encode(body),
      headers: contentType && !isText ? { "Content-Type": contentType } : {},
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    return { status: answer.status, headers: answer.headers, body: await answer.text() };
  },
};

class ModuleClient {
  sendsBodyWithGet = true;

  constructor(module, certificate = CERTIFICATE) {
    this.module = module;
    this.agent = new module.Agent({ keepAlive: true, ca: certificate });
  }

  send(method, url, body, contentType) {
    const headers = body === null ? {} : { "Content-Length": Buffer.byteLength(body) };
    if (contentType) {
      headers["Content-Type"] = contentType;
    }
    const options = { method, headers, agent: this.agent, timeout: ANSWER_MS };
    return new Promise((resolve, reject) => {
      const request = this.module.request(url, options, (answer) => {
        const parts = [];
        answer.on("data", (part) => parts.push(part));
        answer.on("error", reject);
        answer.on("end", () => {
          const body = Buffer.concat(parts).toString("utf8");
          resolve({ status: answer.statusCode, headers: new Headers(answer.headers), body });
        });
      });
      request.on("error", reject);
      request.on("timeout", () => request.destroy(new Error("no answer in time")));
      request.end(body ?? undefined);
    });
  }

  close() {
    this.agent.destroy();
  }
}

function makeTicket({ app, identifier = ADMIN, key = TABLES.key, seconds = 3600, userbuf }) {
  const api = new Api(app, key);
  if (userbuf) {
    return api.genPrivateMapKey(identifier, seconds, 10_000, 255);
  }
  return api.genUserSig(identifier, seconds);
}

// A ticket that has each of the signs which stand for others in plain base64.
function ticketWithAllSigns(app) {
  for (let seconds = 3600; ; seconds += 1) {
    const ticket = makeTicket({ app, seconds });
    if (["*", "-", "_"].every((sign) => ticket.includes(sign))) {
      return ticket;
    }
  }
}

function plainBase64(ticket) {
  return ticket.replaceAll("*", "+").replaceAll("-", "/").replaceAll("_", "=");
}

// The expected answer, with what came for each placeholder that it fits.
function fill(expected, actual) {
  if (Array.isArray(expected)) {
    return expected.map((value, index) => fill(value, actual?.[index]));
  }
  if (expected !== null && typeof expected === "object") {
    const members = Object.entries(expected);
    return Object.fromEntries(members.map(([name, value]) => [name, fill(value, actual?.[name])]));
  }
  if (expected === "<text>" || expected === "<cursor>") {
    return typeof actual === "string" && actual !== "" ? actual : expected;
  }
  if (expected === "<time>") {
    const age = Date.now() / 1000 - actual;
    return Number.isInteger(actual) && age >= 0 && age <= STORY_SECONDS ? actual : expected;
  }
  return expected;
}

function checkAnswer(text, answer, command) {
  const actual = JSON.parse(text);
  const expected = fill(answer, actual);
  assert.deepStrictEqual(actual, expected);
  const hasOrder = JSON.stringify(actual) === JSON.stringify(expected);
  const isException = actual.ErrorCode === 0 && TABLES.otherOrder.includes(command);
  assert.equal(hasOrder, !isException, `the order of ${text}`);
  return actual;
}

// Values go into the query as they are, without any percent signs.
function queryText(query) {
  const given = Object.entries(query).filter(([, value]) => value !== null);
  return given.map(([name, value]) => `${name}=${value}`).join("&");
}

function suite(name, client) {
  const scheme = name.endsWith("HTTPS") ? "HTTPS" : "HTTP";
  const app = TABLES.apps[name];

  const queryOf = (changes = {}) => ({
    sdkappid: app,
    identifier: ADMIN,
    usersig: makeTicket({ app }),
    random: 99999999,
    contenttype: "json",
    ...changes,
  });

  async function send(path, body, { query = queryText(queryOf()), method = "POST", type } = {}) {
    const reply = await client.send(method, `${ORIGINS[scheme]}${path}?${query}`, body, type);
    assert.equal(reply.status, 200);
    assert.equal(reply.headers.get("content-type"), "application/json");
    assert.equal(Number(reply.headers.get("content-length")), Buffer.byteLength(reply.body));
    assert.equal(reply.headers.get("access-control-allow-origin"), "*");
    return reply.body;
  }

  async function ask(how) {
    const { path, request, answer } = TABLES.question;
    checkAnswer(await send(path, request, how), answer, "account_check");
  }

  async function askInVain(code, { path = TABLES.question.path, ...how } = {}) {
    const actual = JSON.parse(await send(path, TABLES.question.request, how));
    assert.deepStrictEqual([actual.ActionStatus, actual.ErrorCode], ["FAIL", code]);
    assert.notEqual(actual.ErrorInfo, "");
  }

  it("tells the story of all commands", async () => {
    let cursor = "";
    for (const step of TABLES.story) {
      const request = step.request.replace("<cursor>", cursor);
      try {
        const actual = checkAnswer(await send(step.path, request), step.answer, step.command);
        cursor = actual.NextCursor || cursor;
      } catch (error) {
        throw new Error(`${step.title}: ${request}: ${error.message}`, { cause: error });
      }
    }
  });

  for (const row of TABLES.tickets) {
    it(`asks with a ticket: ${row.title}`, async () => {
      const usersig = makeTicket({ app, ...row.ticket });
      const query = queryText(queryOf({ usersig, ...row.query }));
      await (row.code === 0 ? ask({ query }) : askInVain(row.code, { query }));
    });
  }

  it("asks with a ticket for a room with a name", async () => {
    const api = new Api(app, TABLES.key);
    const usersig = api.genPrivateMapKeyWithStringRoomID(ADMIN, 3600, "room", 255);
    await ask({ query: queryText(queryOf({ usersig })) });
  });

  it("asks with a ticket that expires meanwhile", async () => {
    const query = queryText(queryOf({ usersig: makeTicket({ app, seconds: 3 }) }));
    await ask({ query });
    await sleep(3100);
    await askInVain(70001, { query });
  });

  it("asks for commands that there are not", async () => {
    for (const path of TABLES.unknownPaths) {
      await askInVain(60009, { path });
    }
  });

  it("asks whatever the content type", async () => {
    for (const type of TABLES.contentTypes) {
      await ask({ type });
    }
  });

  it("asks whatever the random", async () => {
    for (const random of TABLES.randoms) {
      await ask({ query: queryText(queryOf({ random })) });
    }
  });

  it("sends asterisks as they are and with percent signs", async () => {
    const query = queryText(queryOf({ usersig: ticketWithAllSigns(app) }));
    await ask({ query });
    await ask({ query: query.replaceAll("*", "%2A").replaceAll("_", "%5f") });
    await ask({ query: new URLSearchParams(queryOf()).toString() });
  });

  it("sends a ticket in plain base64", async () => {
    const usersig = plainBase64(ticketWithAllSigns(app));
    await ask({ query: queryText(queryOf({ usersig })) });
    await ask({ query: new URLSearchParams(queryOf({ usersig })).toString() });
  });

  it("sends the parameters in another order", async () => {
    const reversed = Object.fromEntries(Object.entries(queryOf()).reverse());
    await ask({ query: queryText(reversed) });
  });

  if (client.sendsBodyWithGet) {
    it("asks account_check with GET", () => ask({ method: "GET" }));
  }

  it("asks with GET for anything else", async () => {
    for (const path of ["/elsewhere", "/v4/follow/follow_get_info"]) {
      const actual = JSON.parse(await send(path, null, { method: "GET" }));
      assert.deepStrictEqual([actual.ActionStatus, actual.ErrorCode], ["FAIL", 60002]);
    }
  });

  after(() => client.close?.());
}

for (const scheme of ["HTTP", "HTTPS"]) {
  describe(`fetch over ${scheme}`, () => suite(`fetch over ${scheme}`, fetchClient));
}

describe("node over HTTP", () => suite("node over HTTP", new ModuleClient(http)));

describe("node over HTTPS", () => {
  suite("node over HTTPS", new ModuleClient(https));

  it("looks at the certificate", async () => {
    const stranger = new ModuleClient(https, rootCertificates[0]);
    const asked = stranger.send("GET", ORIGINS.HTTPS, null);
    await assert.rejects(asked, { code: "DEPTH_ZERO_SELF_SIGNED_CERT" });
    stranger.close();
  });
});
