// The console page in a real browser, against a real server. Whatever a test does, in the end the
// page must have had no error, broken no rule of its content security policy, asked nobody but
// its own server, and sent the ticket with every request.
//
// `scripts/console-test` runs it. SCREENSHOT=path also writes the picture of the README.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { apiClient, foreignTicket, startBrowser, startServer } from "./server.mjs";

const SIZE = { width: 1280, height: 800 };
const WAIT_MS = 15_000;
const HOSTILE = "<img src=x onerror=alert(1)>";
const PICTURED = "the-daily-loaf";
const FANS = Array.from({ length: 25 }, (_, i) => `fan${String(i).padStart(2, "0")}`);

let server;
let browser;
let api;

before(async () => {
  server = await startServer(process.env.FOLLOWGRAPH_BIN);
  api = await apiClient(server.origin);
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

// What the page did that it must not do.
function watch(page) {
  const wrong = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) {
      wrong.push(`console: ${message.text()}`);
    }
  });
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  page.on("dialog", (dialog) => {
    wrong.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("request", (request) => wrong.push(...complaintsOf(request)));
  return wrong;
}

function complaintsOf(request) {
  const url = new URL(request.url());
  if (url.protocol === "data:") {
    return [];
  }
  const complaints = [];
  if (url.origin !== server.origin) {
    complaints.push(`asked another server: ${url}`);
  }
  const wanted = ["sdkappid", "identifier", "usersig", "random", "contenttype"];
  const missing = wanted.filter((name) => !url.searchParams.get(name));
  if (request.method() === "POST" && missing.length > 0) {
    complaints.push(`${url.pathname} was sent without ${missing}`);
  }
  return complaints;
}

// Opens the page, hands it to a test, and looks at what it did.
async function onPage(test, options = {}) {
  const { colorScheme = "light", viewport = SIZE, timezoneId, prepare, expected } = options;
  const context = await browser.newContext({
    colorScheme, viewport, timezoneId, locale: "en-GB",
  });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  const wrong = watch(page);
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  await prepare?.(page);
  await open(page);
  await test(page);
  await context.close();
  assert.deepEqual(wrong.filter((complaint) => !expected?.test(complaint)), []);
}

async function open(page) {
  await page.goto(`${server.origin}/console`);
  await signedIn(page);
}

const signedIn = (page) =>
  page.waitForFunction(() => document.getElementById("sign-in-state").textContent !== "");

// Opens the sign-in card where it is folded.
async function unfold(page) {
  if (!await page.isVisible("#usersig")) {
    await page.click("#unfold");
  }
}

async function fillIn(page, command, fields) {
  await page.selectOption("#command", command);
  for (const [name, value] of Object.entries(fields)) {
    const field = page.locator(`#field-${name}`);
    await (name === "FollowType" ? field.selectOption(value) : field.fill(value));
  }
}

async function send(page, command, fields) {
  await fillIn(page, command, fields);
  return press(page);
}

// Sends what is in the form and gives back the answer that the page shows.
async function press(page) {
  await page.evaluate(() => document.getElementById("response-body").replaceChildren());
  await page.click("#send");
  await page.waitForFunction(() => document.getElementById("response-body").textContent !== "");
  return JSON.parse(await page.textContent("#response-body"));
}

// Sends account_delete and says yes to what the page asks.
async function sendConfirmed(page, command, fields) {
  await fillIn(page, command, fields);
  await page.click("#send");
  await page.click("#confirm-yes");
  await page.waitForFunction(() => document.getElementById("response-body").textContent !== "");
  return JSON.parse(await page.textContent("#response-body"));
}

async function selectTab(page, name) {
  await page.click(`#tab-${name}`);
  assert.equal(await page.isVisible(`#panel-${name}`), true);
}

async function lookUp(page, account, other = "") {
  await selectTab(page, "account");
  await page.fill("#account", account);
  await page.fill("#other", other);
  await page.click("#look-up");
  await page.waitForFunction(() => /^(Page \d|No )/.test(
    document.getElementById("list-state").textContent));
}

const textOf = (page, selector) => page.locator(selector).innerText();
const waitForText = (page, selector, text) =>
  page.locator(selector).filter({ hasText: text }).waitFor();

async function importAccounts(names) {
  await api.accounts("multiaccount_import", {
    AccountList: names.map((UserID) => ({ UserID })),
  });
}

const follow = (from, to) =>
  api.follow("follow_add", { From_Account: from, FollowItem: [{ To_Account: to }] });

describe("requests", () => {
  it("sends every command through its form", () => onPage(async (page) => {
    const done = (answer) => assert.equal(answer.ErrorCode, 0);
    done(await send(page, "account_import", { UserID: "alice", Nick: "Alice" }));
    const many = await send(page, "multiaccount_import", { AccountList: "bob\ncarol" });
    assert.deepEqual(many.FailAccounts, []);
    const older = await send(page, "multiaccount_import", { AccountList: "", Accounts: "dave" });
    assert.deepEqual(older.FailAccounts, []);
    const there = await send(page, "account_check", { CheckItem: "bob\nzoe" });
    assert.deepEqual(there.ResultItem.map((item) => item.AccountStatus),
      ["Imported", "NotImported"]);

    const added = await send(page, "follow_add", {
      From_Account: "alice", FollowItem: "bob\ncarol\nzoe",
    });
    assert.deepEqual(added.ResultItem.map((item) => item.ResultCode), [0, 0, 30003]);
    assert.match(await textOf(page, "#verdict"), /1 of 3 items failed\./);
    const counted = await send(page, "follow_get_info", {
      From_Account: "bob", To_Account: "alice\nbob",
    });
    const counts = counted.FollowInfo.map((item) =>
      [item.FollowerCount, item.FollowingCount, item.MutualFollowingCount]);
    assert.deepEqual(counts, [[0, 2, 0], [1, 0, 0]]);
    const related = await send(page, "follow_check", {
      From_Account: "alice", To_Account: "bob\ndave",
    });
    assert.deepEqual(related.ResultItem.map((item) => item.FollowType), [2, 0]);
    const list = await send(page, "follow_get", {
      From_Account: "alice", FollowType: "2", WantNum: "1",
    });
    assert.deepEqual(list.FollowItem.map((item) => item.To_Account), ["carol"]);
    const rest = await send(page, "follow_get", { StartCursor: list.NextCursor });
    assert.deepEqual(rest.FollowItem.map((item) => item.To_Account), ["bob"]);
    assert.equal(rest.NextCursor, "");

    const removed = await send(page, "follow_delete", {
      From_Account: "alice", To_Account: "bob",
    });
    assert.deepEqual(removed.ResultItem.map((item) => item.ResultCode), [0]);
    const gone = await sendConfirmed(page, "account_delete", { DeleteItem: "carol\nzoe" });
    assert.deepEqual(gone.ResultItem.map((item) => item.ResultCode), [0, 70107]);
    const left = await send(page, "follow_get_info", {
      From_Account: "alice", To_Account: "alice",
    });
    assert.equal(left.FollowInfo[0].FollowingCount, 0);
  }));

  it("shows the request as sent, and a curl line to copy", () => onPage(async (page) => {
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await send(page, "account_check", { CheckItem: "it's" });
    const { usersig } = api.ticket;
    const sent = await textOf(page, "#sent");
    assert.match(sent, /^POST http:\/\/127\.0\.0\.1:\d+\/v4\/im_open_login_svc\/account_check\?/);
    assert.ok(sent.includes('{"CheckItem":[{"UserID":"it\'s"}]}'));
    assert.ok(!sent.includes(usersig) && sent.includes("…"), "the ticket is shortened");
    assert.match(await textOf(page, "#verdict"), /HTTP 200\s+ErrorCode 0\s+[\d.]+ ms\s+account_check of it's\s+Done\./);
    await page.click("#copy");
    await waitForText(page, "#copy-state", "Copied");
    const line = await page.evaluate(() => navigator.clipboard.readText());
    assert.ok(line.startsWith("curl -sS 'http://127.0.0.1:"));
    assert.ok(line.includes(encodeURIComponent(usersig)), "the copy has the whole ticket");
    assert.ok(line.includes("'\\''"), "quotes do not end the argument");
  }));

  it("sends raw JSON as it stands, even what is none", () => onPage(async (page) => {
    await page.selectOption("#command", "follow_get_info");
    await page.click("#sample");
    await page.getByText("JSON", { exact: true }).click();
    const raw = await page.inputValue("#raw-body");
    assert.deepEqual(JSON.parse(raw), { From_Account: "alice", To_Account: ["bob", "carol"] });
    await page.fill("#raw-body", '{"From_Account":"alice",}');
    await waitForText(page, "#raw-body-hint", "Not JSON, and sent all the same");
    assert.equal((await press(page)).ErrorCode, 60003);
    await page.fill("#raw-body", '{"From_Account":1,"To_Account":["bob"]}');
    assert.equal((await press(page)).ErrorCode, 60015);
    assert.match(await textOf(page, "#verdict"), /An account in the body is not a string/);
  }));

  it("says at the field what is wrong with it", () => onPage(async (page) => {
    await page.selectOption("#command", "follow_check");
    await page.click("#send");
    await waitForText(page, "#field-From_Account-hint", "From_Account is needed.");
    assert.equal(await page.evaluate(() => document.activeElement.id), "field-From_Account");
    await page.fill("#field-From_Account", "nobody.here");
    await page.fill("#field-To_Account", Array.from({ length: 101 }, (_, i) => `a${i}`).join("\n"));
    await page.click("#send");
    await waitForText(page, "#field-To_Account-hint", "101 accounts; at most 100 are taken.");
    assert.equal(await page.getAttribute("#field-To_Account", "aria-invalid"), "true");
    assert.equal(await textOf(page, "#sent"), "", "neither was sent");
    const answer = await send(page, "follow_check", { To_Account: "bob" });
    assert.equal(answer.ErrorCode, 30003);
    await waitForText(page, "#field-From_Account-hint", "30003: The account was never");
    await api.accounts("account_import", { UserID: "eve" });
    const negative = await send(page, "follow_get", { From_Account: "eve", WantNum: "-1" });
    assert.equal(negative.ErrorCode, 30001);
    await waitForText(page, "#field-WantNum-hint", "30001: WantNum is negative");
    await page.selectOption("#command", "account_import");
    await page.fill("#field-UserID", "ü".repeat(17));
    await page.click("#send");
    await waitForText(page, "#field-UserID-hint", "longer than 32 bytes");
  }));

  it("does not move what is below when an answer comes", () => onPage(async (page) => {
    const places = () => page.evaluate(() => ["send", "sent-title", "curl"].map((id) =>
      document.getElementById(id).getBoundingClientRect().top));
    const empty = await places();
    await send(page, "follow_get_info", { From_Account: "nobody.here", To_Account: "bob" });
    assert.deepEqual(await places(), empty);
  }));
});

describe("answers", () => {
  before(() => importAccounts(["ann", "ben"]));

  it("asks before account_delete is sent, with Cancel as the default", () => onPage(async (page) => {
    await importAccounts(["doomed", "spared"]);
    const sent = [];
    page.on("request", (request) => sent.push(new URL(request.url()).pathname));
    await fillIn(page, "account_delete", { DeleteItem: "doomed\nspared" });
    for (const answer of ["button", "Enter", "Escape"]) {
      await page.click("#send");
      await waitForText(page, "#confirm", "Delete 2 accounts");
      await waitForText(page, "#confirm", "doomed");
      assert.equal(await page.evaluate(() => document.activeElement.id), "confirm-no");
      await (answer === "button" ? page.click("#confirm-no") : page.keyboard.press(answer));
      assert.equal(await page.isVisible("#confirm"), false);
    }
    await page.click("#field-DeleteItem");
    await page.keyboard.press("Control+Enter");
    await page.click("#confirm-no");
    await page.getByText("JSON", { exact: true }).click();
    await page.fill("#raw-body", '{"DeleteItem":[{"UserID":"doomed"}]}');
    await page.click("#send");
    await waitForText(page, "#confirm", "Delete 1 account");
    await page.click("#confirm-no");
    await page.fill("#raw-body", "{");
    await page.click("#send");
    await waitForText(page, "#confirm", "Delete the accounts that the JSON names");
    await page.click("#confirm-no");
    assert.deepEqual(sent.filter((path) => path.endsWith("/account_delete")), []);
    await page.fill("#raw-body", '{"DeleteItem":[{"UserID":"doomed"}]}');
    await page.click("#send");
    await page.click("#confirm-yes");
    await waitForText(page, "#response-body", '"ResultCode": 0');
    const { ResultItem } = await api.accounts("account_check", {
      CheckItem: [{ UserID: "doomed" }, { UserID: "spared" }],
    });
    assert.deepEqual(ResultItem.map((item) => item.AccountStatus), ["NotImported", "Imported"]);
  }));

  it("shows an answer with its command and account until the form changes", () =>
    onPage(async (page) => {
      const fields = { From_Account: "ann", To_Account: "ben" };
      const isShown = async () => {
        await send(page, "follow_check", fields);
        await waitForText(page, "#answered", "follow_check of ann");
      };
      const isGone = async () => {
        await waitForText(page, "#outcome", "The form has changed since the last answer.");
        for (const id of ["answered", "chips", "response-body", "sent", "curl"]) {
          assert.equal(await page.textContent(`#${id}`), "", `${id} is empty`);
        }
        assert.equal(await page.isDisabled("#copy"), true);
      };
      await isShown();
      await page.fill("#field-From_Account", "ben");
      await isGone();
      await isShown();
      await page.selectOption("#command", "follow_get_info");
      await isGone();
      await isShown();
      await page.click("#sample");
      await isGone();
      await isShown();
      await page.getByText("JSON", { exact: true }).click();
      await isGone();
      await press(page);
      await page.fill("#raw-body", "{}");
      await isGone();
      await press(page);
      await waitForText(page, "#answered", "follow_check");
    }));

  it("does not show an answer to what the form says no longer", () => onPage(async (page) => {
    await page.route("**/follow_check?*", async (route) => {
      await new Promise((resolve) => setTimeout(resolve, 400));
      await route.continue();
    });
    await fillIn(page, "follow_check", { From_Account: "ann", To_Account: "ben" });
    await page.click("#send");
    await page.fill("#field-From_Account", "ben");
    await waitForText(page, "#outcome",
      "follow_check of ann was answered after the form had changed: ErrorCode 0.");
    assert.equal(await page.textContent("#response-body"), "");
  }));

  it("is not green where items failed, and shows what the server says to each", () =>
    onPage(async (page) => {
      await send(page, "follow_add", { From_Account: "ann", FollowItem: "ben\nann\nnobody.here" });
      await waitForText(page, "#outcome", "2 of 3 items failed.");
      const failed = await page.locator("#failed li").allInnerTexts();
      assert.equal(failed.length, 2);
      assert.match(failed[0], /^ann: 30001, .*follow/);
      assert.match(failed[1], /^nobody\.here: 30003, .*nobody\.here/);
      const chip = page.locator("#chips .chip", { hasText: "ErrorCode 0" });
      assert.doesNotMatch(await chip.getAttribute("class"), /good/);
      await send(page, "multiaccount_import", { AccountList: "ann\na\u0007b" });
      await waitForText(page, "#outcome", "1 of 2 items failed.");
      assert.match(await textOf(page, "#failed li"), /^a\\u0007b: not imported/);
      assert.doesNotMatch(await chip.getAttribute("class"), /good/);
      await send(page, "follow_add", { From_Account: "ann", FollowItem: "ben" });
      assert.match(await chip.getAttribute("class"), /good/);
      assert.equal(await page.locator("#failed li").count(), 0);
    }));

  it("says once that the server is gone, and clears what it said before", () =>
    onPage(async (page) => {
      const context = page.context();
      await follow("ann", "ben");
      await send(page, "follow_get_info", { From_Account: "ann", To_Account: "ann" });
      await selectTab(page, "charts");
      await page.locator("#counts-chart circle.point").first().waitFor();
      await lookUp(page, "ann", "ben");
      await context.route("**/v4/**", (route) => route.abort());
      await context.route("**/console/follower_counts?*", (route) => route.abort());
      const saysSo = async () => {
        await waitForText(page, "#gone", "The server does not answer");
        const said = await page.locator("body").innerText();
        for (const words of [/answer\b.*\(Failed|No answer/g, /Failed to fetch/g]) {
          assert.equal(said.match(words).length, 1, said);
        }
      };
      await page.click("#look-up");
      await saysSo();
      assert.equal(await textOf(page, "#count-followers"), "–");
      assert.equal(await page.locator("#list-rows tr").count(), 0);
      assert.equal(await page.isVisible("#change"), false);
      assert.doesNotMatch(await textOf(page, "#sign-in-state"), /accepts/);
      await selectTab(page, "request");
      assert.equal(await page.textContent("#response-body"), "");
      await page.click("#send");
      await saysSo();
      await selectTab(page, "charts");
      await saysSo();
      assert.equal(await page.locator("#counts-chart circle.point").count(), 0);
      await context.unrouteAll();
      await selectTab(page, "account");
      await page.click("#look-up");
      await waitForText(page, "#count-following", "1");
      assert.equal(await page.isVisible("#gone"), false);
    }, { expected: /ERR_FAILED/ }));
});

describe("sign-in", () => {
  it("shows a refused ticket where it is typed", () => onPage(async (page) => {
    const fields = { From_Account: "alice", To_Account: "bob" };
    await unfold(page);
    await page.fill("#usersig", foreignTicket(api.ticket));
    assert.equal((await send(page, "follow_check", fields)).ErrorCode, 70009);
    await waitForText(page, "#sign-in-state", "70009: The UserSig was not made with a key");
    assert.equal(await page.getAttribute("#usersig", "aria-invalid"), "true");
    await page.fill("#usersig", "no ticket");
    await page.click("#sign-in-send");
    await waitForText(page, "#sign-in-state", "70003: The UserSig cannot be decoded.");
    await selectTab(page, "charts");
    await waitForText(page, "#counts-state", "70003");
    await page.fill("#usersig", api.ticket.usersig);
    await page.fill("#sdkappid", "7");
    await page.click("#sign-in-send");
    await waitForText(page, "#sign-in-state", "70020");
    assert.equal(await page.evaluate(() => document.activeElement.id), "sdkappid");
    await page.fill("#sdkappid", String(api.ticket.sdkappid));
    await page.click("#sign-in-send");
    await waitForText(page, "#sign-in-state", "The server accepts this UserSig of administrator.");
    assert.equal(await page.getAttribute("#sdkappid", "aria-invalid"), null);
    await open(page);
    assert.equal(await page.inputValue("#identifier"), api.ticket.identifier);
    assert.equal(await page.inputValue("#usersig"), api.ticket.usersig);
    await waitForText(page, "#counts-state", "accounts; above 16");
  }));

  it("masks the UserSig until it is asked to show it", () => onPage(async (page) => {
    await unfold(page);
    assert.equal(await page.getAttribute("#usersig", "type"), "password");
    await page.click("#show-usersig");
    assert.equal(await page.getAttribute("#usersig", "type"), "text");
    assert.equal(await page.getAttribute("#show-usersig", "aria-pressed"), "true");
    await page.click("#show-usersig");
    assert.equal(await page.getAttribute("#usersig", "type"), "password");
  }));

  it("folds after signing in", () => onPage(async (page) => {
    await waitForText(page, "#sign-in-state", "The server accepts this UserSig of administrator.");
    assert.equal(await page.isVisible("#usersig"), false);
    const { height } = await page.locator("#sign-in").boundingBox();
    assert.ok(height <= 100, `the folded card takes ${height} px`);
    await page.click("#unfold");
    assert.equal(await page.isVisible("#usersig"), true);
    assert.equal(await page.evaluate(() => document.activeElement.id), "sdkappid");
    await page.fill("#usersig", "no UserSig");
    await page.click("#sign-in-send");
    await waitForText(page, "#sign-in-state", "70003");
    assert.equal(await page.isVisible("#usersig"), true);
    await page.fill("#usersig", api.ticket.usersig);
    await page.click("#sign-in-send");
    await page.locator("#usersig").waitFor({ state: "hidden" });
  }, { viewport: { width: 360, height: 740 } }));

  it("takes a ticket by hand and keeps it for this tab alone", () => {
    // As a server answers that does not run for development; the browser notes it by itself.
    const prepare = (page) => page.route("**/console/dev.json", (route) =>
      route.fulfill({ status: 404 }));
    const expected = /status of 404/;
    return onPage(async (page) => {
      assert.equal(await page.inputValue("#usersig"), "");
      await page.click("#sign-in-send");
      await waitForText(page, "#sign-in-state", "are needed");
      await page.fill("#field-From_Account", "alice");
      await page.fill("#field-To_Account", "bob");
      await page.click("#send");
      await waitForText(page, "#outcome", "Not sent");
      for (const [name, value] of Object.entries(api.ticket)) {
        await page.fill(`#${name}`, String(value));
      }
      await page.click("#sign-in-send");
      await waitForText(page, "#sign-in-state", "The server accepts this UserSig");
      await page.reload();
      await page.waitForFunction(() => document.getElementById("usersig").value !== "");
      assert.equal(await page.inputValue("#usersig"), api.ticket.usersig);
      assert.deepEqual(await page.evaluate(() => [localStorage.length, document.cookie]), [0, ""]);
    }, { prepare, expected });
  });
});

describe("accounts", () => {
  before(async () => {
    await importAccounts(["star", "quiet", ...FANS]);
    for (const fan of FANS) {
      await follow(fan, "star");
    }
    await follow("star", "fan03");
  });

  const counts = (page) => Promise.all(["followers", "following", "mutual"].map((name) =>
    textOf(page, `#count-${name}`)));
  const names = (page) => page.locator("#list-rows bdi").allInnerTexts();

  it("shows counts and the relation, and changes it", () => onPage(async (page) => {
    await lookUp(page, "star", "fan03");
    assert.deepEqual(await counts(page), ["25", "1", "1"]);
    await waitForText(page, "#relation", "star and fan03 follow each other. FollowType is 3.");
    await page.fill("#other", "fan04");
    await page.click("#look-up");
    await waitForText(page, "#relation", "fan04 follows star, who does not follow back.");
    await page.click("#change");
    await waitForText(page, "#relation", "star and fan04 follow each other.");
    await waitForText(page, "#count-mutual", "2");
    assert.deepEqual(await counts(page), ["25", "2", "2"]);
    assert.equal(await textOf(page, "#change"), "Unfollow fan04");
    await page.click("#change");
    await waitForText(page, "#relation", "fan04 follows star, who does not follow back.");
    await waitForText(page, "#count-mutual", "1");
    await page.click("#swap");
    await waitForText(page, "#relation", "fan04 follows star, who does not follow back.");
    assert.equal(await textOf(page, "#change"), "Unfollow star");
    await page.fill("#other", "quiet");
    await page.click("#look-up");
    await waitForText(page, "#relation", "fan04 and quiet do not follow each other.");
  }));

  it("turns the pages of the lists", () => onPage(async (page) => {
    await lookUp(page, "star");
    const newestFirst = FANS.toReversed();
    assert.deepEqual(await names(page), newestFirst.slice(0, 10));
    const age = Date.now() - Date.parse(
      await page.locator("#list-rows time").first().getAttribute("datetime"));
    assert.ok(Math.abs(age) < 600_000, "follow times are of now");
    assert.equal(await page.isDisabled("#previous"), true);
    await page.click("#next");
    await waitForText(page, "#list-state", "Page 2: 10 of 25 followers.");
    assert.deepEqual(await names(page), newestFirst.slice(10, 20));
    await page.click("#next");
    await waitForText(page, "#list-state", "Page 3: 5 of 25 followers, the last of them.");
    assert.deepEqual(await names(page), newestFirst.slice(20));
    assert.equal(await page.isDisabled("#next"), true);
    await page.click("#previous");
    await waitForText(page, "#list-state", "Page 2");
    await page.selectOption("#page-size", "100");
    await waitForText(page, "#list-state", "Page 1: 25 of 25 followers, the last of them.");
    await page.getByText("Mutual", { exact: true }).last().click();
    await waitForText(page, "#list-state", "Page 1: 1 of 1 mutual follow");
    assert.deepEqual(await names(page), ["fan03"]);
    await page.click("#list-rows button");
    await waitForText(page, "#relation", "star and fan03 follow each other.");
    assert.equal(await page.inputValue("#other"), "fan03");
  }));

  it("says at the field which account is not there", () => onPage(async (page) => {
    await selectTab(page, "account");
    await page.click("#look-up");
    await waitForText(page, "#account-hint", "An account is needed.");
    await page.fill("#account", "nobody.here");
    await page.click("#look-up");
    await waitForText(page, "#account-hint", "30003");
    assert.deepEqual(await counts(page), ["–", "–", "–"]);
    await page.fill("#account", "star");
    await page.fill("#other", "nobody.here");
    await page.click("#look-up");
    await waitForText(page, "#other-hint", "30003");
    assert.deepEqual(await counts(page), ["25", "1", "1"]);
    assert.equal(await page.isVisible("#change"), false);
  }));

  it("says of an unknown account in the relation card that it is not there", () =>
    onPage(async (page) => {
      await lookUp(page, "star", "fan03");
      await page.locator("#change").waitFor();
      await page.fill("#other", "nobody.here");
      await page.click("#look-up");
      await waitForText(page, "#relation", "nobody.here was never imported.");
      assert.equal(await page.isVisible("#change"), false);
      await page.fill("#account", "nobody.there");
      await page.fill("#other", "star");
      await page.click("#look-up");
      await waitForText(page, "#relation", "nobody.there was never imported.");
      assert.equal(await page.isVisible("#change"), false);
      assert.equal(await page.isVisible("#next"), false);
      await page.fill("#account", "fan04");
      await page.click("#look-up");
      await waitForText(page, "#relation", "fan04 follows star");
      assert.equal(await page.isVisible("#change"), true);
      await page.fill("#other", "");
      await waitForText(page, "#relation", "Enter another account");
      assert.equal(await page.isVisible("#change"), false);
      await importAccounts(["leaving"]);
      await page.fill("#other", "leaving");
      await page.click("#look-up");
      await waitForText(page, "#relation", "fan04 and leaving do not follow each other");
      await api.accounts("account_delete", { DeleteItem: [{ UserID: "leaving" }] });
      await page.click("#change");
      await waitForText(page, "#relation", "leaving was never imported.");
      assert.equal(await page.isVisible("#change"), false);
    }));

  it("shows counts and lists with the account they belong to until it changes", () =>
    onPage(async (page) => {
      await lookUp(page, "star", "fan03");
      assert.equal(await textOf(page, "#whose"), "star");
      await page.fill("#account", "sta");
      assert.equal(await textOf(page, "#whose"), "");
      assert.deepEqual(await counts(page), ["–", "–", "–"]);
      assert.equal(await page.locator("#list-rows tr").count(), 0);
      assert.doesNotMatch(await textOf(page, "#relation"), /follow each other/);
    }));

  it("shows bidirectional and invisible characters of names as escapes", () =>
    onPage(async (page) => {
      const tricky = "mal\u202egnp.exe\u200b\u00a0x\u2066\ufeff";
      const escaped = "mal\\u202egnp.exe\\u200b\\u00a0x\\u2066\\ufeff";
      await importAccounts([tricky]);
      await follow(tricky, "quiet");
      await lookUp(page, "quiet", tricky);
      assert.deepEqual(await names(page), [escaped]);
      await waitForText(page, "#relation", `${escaped} follows quiet`);
      assert.equal(await textOf(page, "#change"), `Follow ${escaped}`);
      await selectTab(page, "request");
      const answer = await send(page, "follow_get_info", {
        From_Account: tricky, To_Account: `${tricky}\nno\u202ebody`,
      });
      assert.equal(answer.FollowInfo[0].To_Account, tricky, "the JSON is the same JSON");
      await waitForText(page, "#field-From_Account-hint", `cannot be seen: ${escaped}`);
      const visible = await page.locator("main").innerText();
      assert.doesNotMatch(visible, /[\u202a-\u202e\u2066-\u2069\u200b\ufeff]/);
      assert.match(await textOf(page, "#failed"), /no\\u202ebody: 30003/);
      assert.match(await textOf(page, "#answered"), /mal\\u202egnp/);
      await fillIn(page, "account_delete", { DeleteItem: tricky });
      await page.click("#send");
      await waitForText(page, "#confirm", escaped);
      await page.click("#confirm-yes");
      await waitForText(page, "#response-body", '"ResultCode": 0');
    }));

  for (const width of [360, 1280]) {
    it(`cuts long names and keeps dates on one line, ${width} px wide`, () =>
      onPage(async (page) => {
        const long = "W".repeat(32);
        await importAccounts([long]);
        await follow(long, "quiet");
        await follow("fan01", "quiet");
        await lookUp(page, "quiet", long);
        const heights = await page.locator("#list-rows tr").evaluateAll((rows) =>
          rows.map((row) => row.getBoundingClientRect().height));
        assert.ok(Math.abs(heights[0] - heights[1]) <= 1, "a long name takes no more lines");
        const lines = await page.locator("#list-rows time").evaluateAll((times) =>
          times.map((time) => time.getClientRects().length));
        assert.deepEqual(lines, [1, 1]);
        const name = page.locator("#list-rows button.link").last();
        assert.equal(await name.getAttribute("title"), long);
        const isCut = () => name.evaluate((node) => node.scrollWidth > node.clientWidth);
        assert.equal(await isCut(), width < 1000, "where there is no room it is cut");
        const more = page.locator("#list-rows button.more");
        assert.equal(await more.isVisible(), width < 1000, "the button is there where it is needed");
        const overflow = () => page.evaluate(() =>
          Math.max(...[document.documentElement, document.getElementById("list")].map((node) =>
            node.scrollWidth - node.clientWidth)));
        assert.ok(await overflow() <= 0);
        if (width < 1000) {
          await more.click();
          assert.equal(await isCut(), false, "the whole name is shown on demand");
          assert.ok(await overflow() <= 0);
          await more.click();
          assert.equal(await isCut(), true);
        }
        await api.accounts("account_delete", { DeleteItem: [{ UserID: long }] });
        await api.follow("follow_delete", { From_Account: "fan01", To_Account: ["quiet"] });
      }, { viewport: { width, height: 740 } }));
  }

  it("scrolls to the result of a look-up", () => onPage(async (page) => {
    await selectTab(page, "account");
    await page.fill("#account", "star");
    await page.fill("#other", "fan03");
    await page.evaluate(() => scrollTo(0, 0));
    await page.click("#look-up");
    await waitForText(page, "#relation", "follow each other");
    await page.waitForFunction(() => {
      const { top } = document.getElementById("whose").getBoundingClientRect();
      return top >= 0 && top < 60;
    });
    await page.locator("#list-rows button.link").last().click();
    await page.waitForFunction(() => {
      const { top } = document.getElementById("whose").getBoundingClientRect();
      return top >= 0 && top < 60;
    });
  }, { viewport: { width: 360, height: 740 } }));

  it("says which list is empty or failed, in little room", () => onPage(async (page) => {
    const height = async () => (await page.locator(".lists").boundingBox()).height;
    await selectTab(page, "account");
    const before = await height();
    assert.ok(before <= 200, `nothing takes ${before} px`);
    await lookUp(page, "quiet");
    for (const [label, said] of [
      ["Followers", "No followers: nobody follows quiet."],
      ["Following", "No followed accounts: quiet follows nobody."],
      ["Mutual", "No mutual follows: quiet and nobody follow each other."],
    ]) {
      await page.locator(".lists").getByText(label, { exact: true }).click();
      await waitForText(page, "#list-state", said);
      assert.ok(await height() <= 200, `an empty list takes ${await height()} px`);
    }
    await page.route("**/follow_get?*", (route) => route.fulfill({
      json: { ActionStatus: "FAIL", ErrorCode: 30006, ErrorInfo: "the server failed; try again" },
    }));
    await page.fill("#account", "star");
    await page.click("#look-up");
    await waitForText(page, "#list-state", "The mutual follows of star could not be read. 30006:");
    assert.ok(await height() <= 200, `a failed list takes ${await height()} px`);
    assert.deepEqual(await counts(page), ["25", "1", "1"]);
  }));

  it("gives dates with their time zone", () => onPage(async (page) => {
    await lookUp(page, "star");
    const date = await page.locator("#list-rows time").first().innerText();
    assert.match(date, /^\d{1,2} [A-Z][a-z]+ \d{4}, \d\d:\d\d:\d\d GMT\+9$/);
  }, { timezoneId: "Asia/Tokyo" }));

  it("takes names of strangers for text", () => onPage(async (page) => {
    await importAccounts([HOSTILE]);
    await follow(HOSTILE, "quiet");
    await lookUp(page, "quiet", HOSTILE);
    assert.deepEqual(await names(page), [HOSTILE]);
    await waitForText(page, "#relation", `${HOSTILE} follows quiet`);
    assert.equal(await textOf(page, "#change"), `Follow ${HOSTILE}`);
    await selectTab(page, "request");
    const answer = await send(page, "follow_get_info", {
      From_Account: "quiet", To_Account: HOSTILE,
    });
    assert.equal(answer.FollowInfo[0].To_Account, HOSTILE);
    assert.equal(await page.locator("img").count(), 0);
    await api.accounts("account_delete", { DeleteItem: [{ UserID: HOSTILE }] });
  }));
});

describe("charts", () => {
  const points = (page, chart) => page.locator(`#${chart} circle.point`).evaluateAll((dots) =>
    dots.map((dot) => ({ ...dot.dataset })));

  it("draws the follower counts that the server counts", () => onPage(async (page) => {
    const { Buckets } = await api.followerCounts();
    assert.ok(Buckets.some((bucket) => bucket.Followers > 16), "not every bucket is exact");
    await selectTab(page, "charts");
    await page.locator("#counts-chart circle.point").first().waitFor();
    const atLeast = Buckets.map(({ Followers }) => ({
      followers: String(Followers),
      accounts: String(Buckets.filter((bucket) => bucket.Followers >= Followers)
        .reduce((sum, bucket) => sum + bucket.Accounts, 0)),
    }));
    assert.deepEqual(await points(page, "counts-chart"), atLeast);
    await page.getByText("in each bucket").click();
    const each = Buckets.map((bucket) => ({
      followers: String(bucket.Followers), accounts: String(bucket.Accounts),
    }));
    assert.deepEqual(await points(page, "counts-chart"), each);
    await checkPlaces(page);
    await page.locator("summary").first().click();
    const cells = await page.locator("#counts-rows tr").evaluateAll((rows) =>
      rows.map((row) => [...row.cells].slice(0, 2).map((cell) => Number(cell.textContent))));
    assert.deepEqual(cells, Buckets.map((bucket) => [bucket.Followers, bucket.Accounts]));
    await page.locator("#counts-chart circle.point").last().hover({ force: true });
    const last = Buckets.at(-1);
    await waitForText(page, "#counts-chart .tip", `from ${last.Followers} followers on`);
    assert.match(await page.textContent("#counts-chart .tip"), new RegExp(`^${last.Accounts} `));
  }));

  // More followers are further right, more accounts are higher, and both are within the frame.
  async function checkPlaces(page) {
    const dots = await page.locator("#counts-chart circle.point").evaluateAll((all) =>
      all.map((dot) => ({
        x: dot.cx.baseVal.value, y: dot.cy.baseVal.value, accounts: Number(dot.dataset.accounts),
        width: dot.ownerSVGElement.clientWidth, height: dot.ownerSVGElement.clientHeight,
      })));
    for (const [at, dot] of dots.entries()) {
      assert.ok(dot.x > 0 && dot.x < dot.width && dot.y > 0 && dot.y < dot.height);
      assert.ok(at === 0 || dot.x > dots[at - 1].x);
      assert.ok(dots.every((other) => (other.accounts > dot.accounts) === (other.y < dot.y)));
    }
  }

  it("repeats a read 200 times and draws how long each took", () => onPage(async (page) => {
    await selectTab(page, "charts");
    assert.equal(await page.isDisabled("#repeat"), true, "nothing to repeat yet");
    await selectTab(page, "request");
    await send(page, "follow_get_info", { From_Account: "star", To_Account: "star" });
    await send(page, "account_import", { UserID: "written" });
    await selectTab(page, "charts");
    await waitForText(page, "#repeat-what", "follow_get_info");
    await page.click("#repeat");
    await waitForText(page, "#latency-state", "202 requests: p50");
    const drawn = await points(page, "latency-chart");
    assert.equal(drawn.length, 202);
    assert.equal(drawn.filter((point) => point.command === "follow_get_info").length, 201);
    assert.doesNotMatch(await textOf(page, "#latency-state"), /refused/, "within the rate limit");
    const times = drawn.map((point) => Number(point.milliseconds)).sort((a, b) => a - b);
    const p50 = times[100];
    const shown = `p50 ${p50.toFixed(p50 < 100 ? 1 : 0)} ms`;
    await waitForText(page, "#latency-chart .p50-label", shown);
    await page.locator("summary").last().click();
    assert.match(await textOf(page, "#latency-rows tr:first-child"), /^follow_get_info\s+201\s/);
    await page.click("#clear");
    assert.equal((await points(page, "latency-chart")).length, 0);
  }));
});

describe("repeating", () => {
  it("stops at the first refusal and says which", () => onPage(async (page) => {
    await send(page, "follow_get_info", { From_Account: "star", To_Account: "star" });
    let left = 5;
    await page.route("**/follow_get_info?*", (route) => {
      left -= 1;
      return left >= 0 ? route.continue() : route.fulfill({
        json: { ActionStatus: "FAIL", ErrorCode: 60007, ErrorInfo: "more than 200 calls a second" },
      });
    });
    await selectTab(page, "charts");
    await page.click("#repeat");
    await waitForText(page, "#latency-state", "Stopped at a refusal: 60007: Too many requests");
    await waitForText(page, "#repeat", "Repeat 200 times");
    assert.equal(left, -1, "nothing was sent after the refusal");
    assert.match(await textOf(page, "#latency-state"), /^7 requests/);
  }));
});

describe("for everybody", () => {
  const focused = (page) => page.evaluate(() => document.activeElement.id ||
    document.activeElement.closest("[id]")?.id);

  // Presses Tab until the focus is there, and looks that it can be seen all the way.
  async function tabTo(page, id) {
    for (let pressed = 0; pressed < 60; pressed += 1) {
      await page.keyboard.press("Tab");
      const outline = await page.evaluate(() => {
        const at = document.activeElement;
        const seen = at.type === "radio" ? at.nextElementSibling : at;
        return getComputedStyle(seen).outlineStyle;
      });
      const now = await focused(page);
      if (now === id) {
        assert.notEqual(outline, "none", `the focus on ${id} is seen`);
        return;
      }
    }
    assert.fail(`Tab does not lead to ${id}`);
  }

  it("can be used with the keyboard alone", () => onPage(async (page) => {
    const { keyboard } = page;
    await tabTo(page, "unfold");
    await keyboard.press("Enter");
    assert.equal(await focused(page), "sdkappid");
    await tabTo(page, "sign-in-send");
    await keyboard.press("Enter");
    await page.locator("#usersig").waitFor({ state: "hidden" });
    assert.equal(await focused(page), "unfold");
    await tabTo(page, "tab-request");
    await tabTo(page, "command");
    await keyboard.type("account_check");
    await waitForText(page, "#command-hint", "Which accounts exist.");
    await tabTo(page, "field-CheckItem");
    await keyboard.type("star");
    await keyboard.press("Control+Enter");
    await waitForText(page, "#response-body", "Imported");
    await page.keyboard.press("Shift+Tab");
    while ((await focused(page)) !== "tab-request") {
      await keyboard.press("Shift+Tab");
    }
    await keyboard.press("ArrowRight");
    assert.equal(await focused(page), "tab-account");
    await tabTo(page, "account");
    await keyboard.type("star");
    await tabTo(page, "other");
    await keyboard.type("quiet");
    await keyboard.press("Enter");
    await waitForText(page, "#relation", "do not follow each other");
    await tabTo(page, "change");
    await keyboard.press("Enter");
    await waitForText(page, "#relation", "star follows quiet");
    assert.equal(await focused(page), "change");
    await keyboard.press("Enter");
    await waitForText(page, "#relation", "do not follow each other");
    await tabTo(page, "panel-account");
    await keyboard.press("ArrowRight");
    await waitForText(page, "#list-state", "1 of 1 followed account");
    await keyboard.press("ArrowLeft");
    await waitForText(page, "#list-state", "10 of 25 followers");
    await tabTo(page, "next");
    await keyboard.press("Enter");
    await waitForText(page, "#list-state", "Page 2");
    await keyboard.press("Enter");
    await waitForText(page, "#list-state", "Page 3");
    await page.waitForFunction(() => document.activeElement.id === "previous");
    while ((await focused(page)) !== "tab-account") {
      await keyboard.press("Shift+Tab");
    }
    await keyboard.press("End");
    assert.equal(await focused(page), "tab-charts");
    await page.locator("#counts-chart circle.point").first().waitFor();
    await tabTo(page, "counts-chart");
    await keyboard.press("End");
    await waitForText(page, "#counts-state", /with at least \d+ followers$/);
    await keyboard.press("Home");
    await waitForText(page, "#counts-state", "with at least 0 followers");
    await keyboard.press("Escape");
    while ((await focused(page)) !== "tab-charts") {
      await keyboard.press("Shift+Tab");
    }
    await keyboard.press("ArrowRight");
    assert.equal(await focused(page), "tab-request");
  }));

  const background = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);

  // Text whose contrast with what is behind it is below 4.5, as the guidelines count it.
  const faintTexts = (page) => page.evaluate(async () => {
    // A button that may be pressed again fades into its colour; what is read is what it fades to.
    const passing = document.getAnimations().filter((animation) =>
      animation.effect.getComputedTiming().endTime !== Infinity);
    await Promise.allSettled(passing.map((animation) => animation.finished));
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgb = (colour) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const luminance = ([red, green, blue]) => {
      const [r, g, b] = [red, green, blue].map((value) => value / 255).map((value) =>
        value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (node) => {
      const colour = rgb(getComputedStyle(node).backgroundColor);
      return colour[3] === 255 ? colour : behind(node.parentElement);
    };
    const contrast = (node, colour) => {
      const [low, high] = [luminance(rgb(colour)), luminance(behind(node))].sort((a, b) => a - b);
      return (high + 0.05) / (low + 0.05);
    };
    const texts = [...document.querySelectorAll("body *")].filter((node) =>
      node.checkVisibility() && !node.closest(".skip, .tip, noscript, button:disabled") &&
      [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim() !== ""));
    return texts.filter((node) => {
      const style = getComputedStyle(node);
      return contrast(node, node instanceof SVGElement ? style.fill : style.color) < 4.5;
    }).map((node) => node.outerHTML.slice(0, 100));
  });

  for (const colorScheme of ["light", "dark"]) {
    it(`is readable in ${colorScheme}`, () => onPage(async (page) => {
      await send(page, "follow_get_info", { From_Account: "star", To_Account: "star\nzoe" });
      assert.deepEqual(await faintTexts(page), []);
      await lookUp(page, "star", "quiet");
      assert.deepEqual(await faintTexts(page), []);
      await selectTab(page, "charts");
      await page.locator("#counts-chart circle.point").first().waitFor();
      assert.deepEqual(await faintTexts(page), []);
    }, { colorScheme }));
  }

  it("is light or dark as the system is, unless told otherwise", () => onPage(async (page) => {
    const light = await background(page);
    await page.emulateMedia({ colorScheme: "dark" });
    const dark = await background(page);
    assert.notEqual(light, dark);
    await page.click("#theme");
    assert.equal(await background(page), light);
    assert.equal(await page.getAttribute("#theme", "aria-label"), "Switch to dark");
    await page.reload();
    await page.waitForFunction(() => document.documentElement.dataset.theme === "light");
    assert.equal(await background(page), light);
  }));

  it("fits a telephone", () => onPage(async (page) => {
    const overflow = () => page.evaluate(() =>
      document.documentElement.scrollWidth - document.documentElement.clientWidth);
    await send(page, "follow_get_info", { From_Account: "star", To_Account: "star" });
    assert.ok(await overflow() <= 0);
    await lookUp(page, "star", "quiet");
    assert.ok(await overflow() <= 0);
    await selectTab(page, "charts");
    await page.locator("#counts-chart circle.point").first().waitFor();
    assert.ok(await overflow() <= 0);
  }, { viewport: { width: 360, height: 740 } }));

  it("keeps the form over a reload", () => onPage(async (page) => {
    await fillIn(page, "follow_get", {
      From_Account: "star", FollowType: "3", StartCursor: "x", WantNum: "7",
    });
    await selectTab(page, "account");
    await page.fill("#account", "star");
    await page.fill("#other", "quiet");
    await page.locator(".lists").getByText("Following", { exact: true }).click();
    await page.selectOption("#page-size", "25");
    const values = () => page.evaluate(() => [
      ...["command", "field-From_Account", "field-FollowType", "field-StartCursor",
        "field-WantNum", "account", "other", "page-size"].map((id) =>
        document.getElementById(id).value),
      document.querySelector('input[name="list"]:checked').value,
    ]);
    const kept = ["follow_get", "star", "3", "x", "7", "star", "quiet", "25", "2"];
    assert.deepEqual(await values(), kept);
    await open(page);
    assert.deepEqual(await values(), kept);
    await selectTab(page, "request");
    await page.locator("#panel-request").getByText("JSON", { exact: true }).click();
    await page.fill("#raw-body", '{"raw": true}');
    await open(page);
    assert.equal(await page.inputValue("#raw-body"), '{"raw": true}');
    const form = await page.evaluate(() => sessionStorage.getItem("form"));
    assert.ok(form.includes("star") && !form.includes(api.ticket.usersig));
  }));

  for (const [width, least] of [[1280, 24], [480, 40], [360, 40]]) {
    it(`has no target smaller than ${least} px, ${width} px wide`, () => onPage(async (page) => {
      const small = () => page.evaluate((pixels) => {
        const all = document.querySelectorAll(
          "button, input, select, textarea, summary, .choice label, a:not(.skip)");
        return [...all]
          .filter((node) => node.checkVisibility() && node.type !== "radio")
          .map((node) => [node, node.getBoundingClientRect()])
          .filter(([, { width: x, height: y }]) => x < pixels || y < pixels)
          .map(([node, { width: x, height: y }]) =>
            `${node.id || node.className || node.textContent}: ${x} x ${y}`);
      }, least);
      await unfold(page);
      await send(page, "follow_get_info", { From_Account: "star", To_Account: "star" });
      assert.deepEqual(await small(), []);
      await fillIn(page, "account_delete", { DeleteItem: "nobody.here" });
      await page.click("#send");
      assert.deepEqual(await small(), []);
      await page.click("#confirm-no");
      await lookUp(page, "star", "quiet");
      assert.deepEqual(await small(), []);
      await selectTab(page, "charts");
      await page.locator("#counts-chart circle.point").first().waitFor();
      assert.deepEqual(await small(), []);
    }, { viewport: { width, height: 740 } }));
  }

  it("has a name for every control", () => onPage(async (page) => {
    const nameless = await page.evaluate(() => {
      const controls = [...document.querySelectorAll("input, select, textarea, button")];
      const named = (control) => control.labels?.length || control.ariaLabel ||
        control.textContent.trim() !== "";
      return controls.filter((control) => !named(control)).map((control) => control.outerHTML);
    });
    assert.deepEqual(nameless, []);
  }));
});

// The small graph that a server for development begins with.
describe("the picture of the README", { skip: !process.env.SCREENSHOT }, () => {
  it("is taken", () => onPage(async (page) => {
    const mutual = await api.follow("follow_get", { From_Account: PICTURED, FollowType: 3 });
    await lookUp(page, PICTURED, mutual.FollowItem[0].To_Account);
    await waitForText(page, "#relation", "follow each other");
    await page.evaluate(() => document.activeElement.blur());
    await page.mouse.move(0, 0);
    await page.screenshot({ path: process.env.SCREENSHOT });
  }));
});
