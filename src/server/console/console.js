// The console: a page that speaks the follow API as any client does, with a UserSig in every
// request. Names of accounts come from strangers, so all text reaches the page as text nodes.

// ---------------------------------------------------------------------------------------------
// What the API has: its commands with their fields, and its codes.

const FROM = { name: "From_Account", kind: "account", required: true, sample: "alice" };
const TARGETS = {
  name: "To_Account", kind: "accounts", required: true, cap: 20, sample: "bob\ncarol",
};
const USERS = {
  kind: "accounts", wrap: "UserID", required: true, cap: 100, capBytes: 32, sample: "alice\nbob",
  remember: "UserID",
};
const COMMANDS = [
  {
    name: "follow_get_info", service: "follow", reads: true,
    about: "The three counts of each account.",
    fields: [
      { ...FROM, hint: "Who asks; not part of the answer by itself." },
      { ...TARGETS, hint: "Whose counts." },
    ],
  },
  {
    name: "follow_add", service: "follow",
    about: "Lets an account follow others.",
    fields: [
      { ...FROM, hint: "The follower." },
      {
        ...TARGETS, name: "FollowItem", wrap: "To_Account", remember: "To_Account",
        hint: "Whom to follow.",
      },
    ],
  },
  {
    name: "follow_delete", service: "follow",
    about: "Lets an account follow others no longer.",
    fields: [{ ...FROM, hint: "The follower." }, { ...TARGETS, hint: "Whom to unfollow." }],
  },
  {
    name: "follow_check", service: "follow", reads: true,
    about: "How an account stands to others: who follows whom.",
    fields: [
      { ...FROM, hint: "The one account." },
      { ...TARGETS, cap: 100, hint: "The others." },
    ],
  },
  {
    name: "follow_get", service: "follow", reads: true,
    about: "A page of followers, following or mutual, newest first.",
    fields: [
      { ...FROM, hint: "Whose list." },
      {
        name: "FollowType", kind: "choice", required: true, sample: "1", hint: "Which list.",
        choices: [["1", "1 – followers"], ["2", "2 – following"], ["3", "3 – mutual"]],
      },
      {
        name: "StartCursor", kind: "text", sample: "",
        hint: "Empty for the first page, then the NextCursor of the page before.",
      },
      { name: "WantNum", kind: "integer", sample: "10", hint: "Accounts a page; at most 1000." },
    ],
  },
  {
    name: "account_import", service: "im_open_login_svc",
    about: "Makes an account exist.",
    fields: [
      {
        name: "UserID", kind: "account", required: true, capBytes: 32, sample: "alice",
        remember: "From_Account", hint: "At most 32 bytes.",
      },
      { name: "Nick", kind: "text", sample: "Alice", hint: "Taken, and not kept here." },
      { name: "FaceUrl", kind: "text", sample: "", hint: "Taken, and not kept here." },
    ],
  },
  {
    name: "multiaccount_import", service: "im_open_login_svc",
    about: "Makes accounts exist. One of the two fields is needed.",
    fields: [
      { ...USERS, name: "AccountList", required: false, hint: "At most 32 bytes each." },
      {
        ...USERS, name: "Accounts", wrap: undefined, required: false, remember: "Accounts",
        sample: "", hint: "The older form of the same.",
      },
    ],
  },
  {
    name: "account_delete", service: "im_open_login_svc",
    about: "Removes accounts, with all their follows in both directions.",
    fields: [{ ...USERS, name: "DeleteItem", capBytes: undefined, hint: "Whom to remove." }],
  },
  {
    name: "account_check", service: "im_open_login_svc", reads: true,
    about: "Which accounts exist.",
    fields: [{ ...USERS, name: "CheckItem", capBytes: undefined, hint: "Whom to look for." }],
  },
];
const COMMAND = new Map(COMMANDS.map((command) => [command.name, command]));

const CODES = new Map([
  [0, "Done."],
  [30001, "A parameter is missing, of the wrong type or out of range."],
  [30002, "This cannot be the name of an account."],
  [30003, "The account was never imported. account_import makes it exist."],
  [30004, "Only an admin of the app may do this."],
  [30005, "Following is not switched on for the app."],
  [30006, "The server failed; try again."],
  [30007, "The server took too long; try again."],
  [32100, "The follower follows as many as it may."],
  [32101, "The account to follow has as many followers as it may."],
  [32102, "The follower has as many mutual follows as it may."],
  [32103, "The account to follow has as many mutual follows as it may."],
  [60002, "The request is not HTTP as this service takes it."],
  [60003, "The body is not JSON."],
  [60007, "Too many requests of this command in a second."],
  [60008, "The request timed out or is malformed."],
  [60009, "There is no such command."],
  [60010, "The identifier is not an admin of the app."],
  [60012, "The SDKAppID is missing or no number."],
  [60015, "An account in the body is not a string."],
  [60021, "This address may not ask."],
  [60025, "The identifier or the UserSig is missing, or the content type is not json."],
  [70001, "The UserSig has expired."],
  [70003, "The UserSig cannot be decoded."],
  [70009, "The UserSig was not made with a key of this app."],
  [70013, "The UserSig is for another identifier."],
  [70014, "The UserSig is for another SDKAppID."],
  [70020, "There is no app with this SDKAppID."],
  [70107, "The account was never imported."],
  [70169, "The server took too long; try again."],
  [70402, "A parameter is missing, of the wrong type or out of range."],
  [70500, "The server failed; try again."],
]);

// Which field of the sign-in a code is about.
const SIGN_IN_CODES = new Map([
  [60010, "identifier"], [60012, "sdkappid"], [60025, "usersig"], [70001, "usersig"],
  [70003, "usersig"], [70009, "usersig"], [70013, "identifier"], [70014, "sdkappid"],
  [70020, "sdkappid"],
]);
const UNKNOWN_ACCOUNT = 30003;
const ILLEGAL_ACCOUNT = 30002;

// ---------------------------------------------------------------------------------------------
// Small tools.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const element = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);
const drawing = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

// Characters that cannot be seen, or that change the order of those around them: controls, formats,
// separators, everything that takes no room, and all spaces but the ordinary one. Line feeds and
// tabs are left to the layout.
const UNSEEN = new RegExp("(?![\\n\\t ])[\\p{Cc}\\p{Cf}\\p{Cn}\\p{Co}\\p{Cs}\\p{Z}" +
  "\\p{Default_Ignorable_Code_Point}\\u2800]", "gu");
const escaped = (text) => text.replace(UNSEEN, (unseen) =>
  Array.from({ length: unseen.length }, (_, i) =>
    `\\u${unseen.charCodeAt(i).toString(16).padStart(4, "0")}`).join(""));

// Returns text in which nothing is unseen, as nodes in which the escapes are marked.
function seen(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(UNSEEN)) {
    parts.push(text.slice(end, match.index),
      element("span", { class: "escape" }, escaped(match[0])));
    end = match.index + match[0].length;
  }
  return [...parts, text.slice(end)];
}

// A name of an account, kept apart from the text around it whatever its script does.
const nameOf = (account) =>
  element("bdi", {}, ...seen(account.replaceAll("\n", "\\u000a").replaceAll("\t", "\\u0009")));

// A name where there may be no room for it: it is cut there, and a button shows the whole of it.
const LONG_NAME = 16;

function cutName(account) {
  const name = nameOf(account);
  name.classList.add("cut");
  name.title = escaped(account);
  return account.length > LONG_NAME ? [name, wholeButton(name)] : [name];
}

// The buttons of names, each seen only where there is no room for its name.
const wholeButtons = new Map();
const roomForNames = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const isCut = target.scrollWidth > target.clientWidth || target.classList.contains("whole");
    wholeButtons.get(target)?.classList.toggle("needless", !isCut);
    if (!target.isConnected) {
      roomForNames.unobserve(target);
      wholeButtons.delete(target);
    }
  }
});

function wholeButton(cut) {
  const button = element("button", {
    type: "button", class: "quiet more needless", "aria-expanded": "false",
    "aria-label": "Show whole name",
  }, "…");
  wholeButtons.set(cut, button);
  roomForNames.observe(cut);
  button.addEventListener("click", () => {
    const isWhole = cut.classList.toggle("whole");
    button.setAttribute("aria-expanded", String(isWhole));
    button.setAttribute("aria-label", isWhole ? "Cut the name" : "Show whole name");
  });
  return button;
}

// Says something in a line that is there anyway; `tone` is good, bad or empty. What it says already
// is not said again, so that a screen reader does not repeat it with every request.
function say(line, text, tone = "") {
  if (line.textContent !== text) {
    line.replaceChildren(...[text].flat().flatMap((part) =>
      (typeof part === "string" ? seen(part) : part)));
  }
  line.classList.toggle("bad", tone === "bad");
  line.classList.toggle("good", tone === "good");
}

function markField(input, error) {
  if (error) {
    input.setAttribute("aria-invalid", "true");
  } else {
    input.removeAttribute("aria-invalid");
  }
}

// Puts the error of a field in the place of its hint, or the hint back. What was typed is shown once
// more where it has characters that cannot be seen.
function showFieldError(input, error, hint = "") {
  markField(input, error);
  const value = escaped(input.value);
  const unseen = value === input.value ? ""
    : `Has characters that cannot be seen: ${value.replaceAll("\n", ", ")}`;
  say($(`${input.id}-hint`), error || unseen || hint, error ? "bad" : "");
}

function parsed(json) {
  try {
    return JSON.parse(json);
  } catch {
    return null;
  }
}

// Only what is typed by accident goes: other spaces, and a byte order mark, may belong to a name.
const trimmed = (text) => text.replace(/^[ \t]+|[ \t]+$/g, "");
const utf8Length = (text) => new TextEncoder().encode(text).length;
const milliseconds = (value) => `${value.toFixed(value < 100 ? 1 : 0)} ms`;
const grouped = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact" });
const pause = (duration) => new Promise((resolve) => setTimeout(resolve, duration));
const radio = (name) => document.querySelector(`input[name="${name}"]:checked`).value;

function onRadio(name, listener) {
  for (const input of document.querySelectorAll(`input[name="${name}"]`)) {
    input.addEventListener("change", listener);
  }
}

// Storage may be switched off in the browser; then the page remembers nothing.
const memory = {
  get: (name) => {
    try {
      return sessionStorage.getItem(name);
    } catch {
      return null;
    }
  },
  set: (name, value) => {
    try {
      sessionStorage.setItem(name, value);
    } catch {
      // Nothing is lost but the convenience.
    }
  },
};

// What was typed and chosen, so that a reload does not lose it. The UserSig is not part of it.
const form = parsed(memory.get("form")) ?? {};

function remember(name, value) {
  form[name] = value;
  memory.set("form", JSON.stringify(form));
}

// A field keeps its value over a reload.
function keep(id) {
  const field = $(id);
  field.value = form[id] ?? field.value;
  if (field.selectedIndex === -1) {
    field.selectedIndex = 0;
  }
  field.addEventListener("input", () => remember(id, field.value));
}

function keepRadio(name) {
  for (const input of document.querySelectorAll(`input[name="${name}"]`)) {
    input.checked = form[name] === undefined ? input.checked : input.value === form[name];
    input.addEventListener("change", () => remember(name, input.value));
  }
}

// Brings what is between two nodes into view where it is not.
function scrollTo(first, last) {
  if (first.getBoundingClientRect().top < 0 || last.getBoundingClientRect().bottom > innerHeight) {
    const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
    first.scrollIntoView({ block: "start", behavior: isStill ? "instant" : "smooth" });
  }
}

// ---------------------------------------------------------------------------------------------
// Requests.

const TIMEOUT_MS = 15_000;
const SAMPLES_MAX = 2000;
const samples = [];
let lastRead = null;

// The ticket is given as it goes into an address, whole or for people to look at.
function addressOf(path, random, usersig) {
  // Spaces as %20: the server takes a plus sign for itself, as tickets may have one.
  const [app, identifier] = ["sdkappid", "identifier"].map((id) =>
    encodeURIComponent($(id).value.trim()));
  return `${location.origin}${path}?sdkappid=${app}&identifier=${identifier}` +
    `&usersig=${usersig}&random=${random}&contenttype=json`;
}

// Sends a body to a path with the ticket in the query. Whatever happens becomes an answer; without
// a ticket nothing is sent.
async function post(path, body) {
  const answer = askedOf(path, body);
  if (complainOfEmptySignIn()) {
    answer.info = "Not sent: SDKAppID, identifier and UserSig come first.";
    return answer;
  }
  const begun = performance.now();
  try {
    const response = await fetch(answer.url, {
      method: "POST", body, headers: { "content-type": "application/json" }, cache: "no-store",
      redirect: "error", signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    answer.text = await response.text();
    answer.status = response.status;
    answer.milliseconds = performance.now() - begun;
    answer.json = JSON.parse(answer.text);
    answer.code = answer.json.ErrorCode ?? -1;
    answer.info = answer.json.ErrorInfo ?? "";
  } catch (error) {
    answer.milliseconds ??= performance.now() - begun;
    answer.isGone = !answer.status;
    answer.info = answer.isGone ? error.message : "The answer is not JSON.";
  }
  showGone(answer);
  showSignInError(answer);
  return answer;
}

// A server that does not answer is said to be gone in one place, and nothing that it said before is
// shown any longer.
function showGone(answer) {
  const wasGone = !$("gone").hidden;
  $("gone").hidden = !answer.isGone;
  if (!answer.isGone) {
    return;
  }
  if (!wasGone) {
    say($("gone"), `The server does not answer (${answer.info}). What it said before is cleared.`);
  }
  sayOfSignIn("");
  clearAnswer("");
  forget();
  clearBuckets();
}

// A request before it is sent, with its address as it is and as it is shown.
function askedOf(path, body) {
  const random = crypto.getRandomValues(new Uint32Array(1))[0];
  const usersig = encodeURIComponent($("usersig").value.trim());
  const shortened = usersig.length > 16 ? `${usersig.slice(0, 8)}…` : usersig;
  return {
    url: addressOf(path, random, usersig), shown: addressOf(path, random, shortened), body,
    status: 0, text: "", json: null, code: -1, info: "", milliseconds: null, isGone: false,
  };
}

// One command of the API; its time goes into the chart.
async function send(name, body) {
  const command = COMMAND.get(name);
  const answer = await post(`/v4/${command.service}/${name}`, body);
  if (answer.milliseconds === null) {
    return answer;
  }
  samples.push({ name, milliseconds: answer.milliseconds, refused: answer.code !== 0 });
  samples.splice(0, samples.length - SAMPLES_MAX);
  if (command.reads) {
    lastRead = { name, body };
  }
  if (!$("panel-charts").hidden && !repeating) {
    drawLatency();
  }
  return answer;
}

const ask = (name, request) => send(name, JSON.stringify(request));

function meaning(answer) {
  if (answer.code === -1) {
    return answer.info;
  }
  const known = CODES.get(answer.code) ?? "A code that this page does not know.";
  return answer.info ? `${known} The server says: ${answer.info}` : known;
}

// ---------------------------------------------------------------------------------------------
// Sign-in.

const SIGN_IN_FIELDS = ["sdkappid", "identifier", "usersig"];

function sayOfSignIn(text, tone, field) {
  for (const id of SIGN_IN_FIELDS) {
    markField($(id), id === field);
  }
  say($("sign-in-state"), text, tone);
}

// A refused UserSig is shown where it is typed, whichever request it was. One that is accepted folds
// the card, unless somebody is typing in it.
function showSignInError(answer) {
  const field = SIGN_IN_CODES.get(answer.code);
  if (field) {
    fold(false);
    sayOfSignIn(`${answer.code}: ${CODES.get(answer.code)}`, "bad", field);
  } else if (answer.code === 0) {
    sayOfSignIn(`The server accepts this UserSig of ${$("identifier").value}.`, "good");
    if (!$("sign-in").contains(document.activeElement)) {
      fold(true);
    }
  }
}

function fold(isFolded) {
  $("sign-in").classList.toggle("folded", isFolded);
  $("unfold").hidden = !isFolded;
  if (isFolded) {
    maskUserSig(true);
  }
}

function maskUserSig(isMasked) {
  $("usersig").type = isMasked ? "password" : "text";
  $("show-usersig").setAttribute("aria-pressed", String(!isMasked));
  $("show-usersig").textContent = isMasked ? "Show" : "Hide";
}

// True when there is something to complain of.
function complainOfEmptySignIn() {
  const empty = SIGN_IN_FIELDS.find((id) => $(id).value.trim() === "");
  if (empty) {
    fold(false);
    sayOfSignIn("SDKAppID, identifier and UserSig are needed.", "bad", empty);
    $(empty).focus();
  }
  return empty !== undefined;
}

// Asks for something that only an admin is told, to see whether the UserSig is accepted.
function trySignIn() {
  const user = { UserID: $("identifier").value };
  return post("/v4/im_open_login_svc/account_check", JSON.stringify({ CheckItem: [user] }));
}

async function signIn(event) {
  event.preventDefault();
  const answer = await trySignIn();
  const field = SIGN_IN_CODES.get(answer.code);
  if (field) {
    $(field).focus();
  } else if (answer.code === 0) {
    fold(true);
    $("unfold").focus();
  } else if (answer.milliseconds !== null && !answer.isGone) {
    sayOfSignIn(meaning(answer), "bad");
  }
}

async function fillSignIn() {
  const kept = SIGN_IN_FIELDS.map((id) => memory.get(id));
  if (kept.some((value) => value)) {
    SIGN_IN_FIELDS.forEach((id, i) => { $(id).value = kept[i] ?? ""; });
    await trySignIn();
    return;
  }
  const response = await fetch("/console/dev.json", { cache: "no-store" }).catch(() => null);
  if (!response?.ok) {
    sayOfSignIn("A UserSig is made with a secret key on a server of yours; it does not go here.");
    return;
  }
  const ticket = await response.json();
  for (const id of SIGN_IN_FIELDS) {
    if ($(id).value === "") {
      $(id).value = ticket[id];
    }
  }
  await trySignIn();
}

function startSignIn() {
  $("sign-in").addEventListener("submit", signIn);
  $("show-usersig").addEventListener("click", () => maskUserSig($("usersig").type === "text"));
  $("unfold").addEventListener("click", () => {
    fold(false);
    $("sdkappid").focus();
  });
  for (const id of SIGN_IN_FIELDS) {
    $(id).addEventListener("input", () => {
      SIGN_IN_FIELDS.forEach((each) => memory.set(each, $(each).value));
      changed();
      forget();
      sayOfSignIn("Changed; sent with the next request.");
    });
  }
  return fillSignIn();
}

// ---------------------------------------------------------------------------------------------
// Light and dark, tabs.

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (memory.get("theme") ?? (prefersDark.matches ? "dark" : "light")) === "dark";

function showTheme() {
  const chosen = memory.get("theme");
  if (chosen) {
    document.documentElement.dataset.theme = chosen;
  }
  $("theme").textContent = isDark() ? "Light" : "Dark";
  $("theme").setAttribute("aria-label", isDark() ? "Switch to light" : "Switch to dark");
}

function startTheme() {
  prefersDark.addEventListener("change", showTheme);
  $("theme").addEventListener("click", () => {
    const wanted = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = wanted;
    memory.set("theme", wanted);
    showTheme();
  });
  showTheme();
}

const tabs = [...document.querySelectorAll('[role="tab"]')];

function selectTab(chosen) {
  for (const tab of tabs) {
    const isChosen = tab === chosen;
    tab.setAttribute("aria-selected", String(isChosen));
    tab.tabIndex = isChosen ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = !isChosen;
  }
  memory.set("tab", chosen.id);
  if (chosen.id === "tab-charts") {
    showCharts();
  }
}

function startTabs() {
  const moves = { ArrowRight: 1, ArrowLeft: -1 };
  tabs.forEach((tab, at) => {
    tab.addEventListener("click", () => selectTab(tab));
    tab.addEventListener("keydown", (event) => {
      const ends = { Home: 0, End: tabs.length - 1 };
      const to = ends[event.key] ?? (at + (moves[event.key] ?? 0) + tabs.length) % tabs.length;
      if (to !== at) {
        event.preventDefault();
        selectTab(tabs[to]);
        tabs[to].focus();
      }
    });
  });
  selectTab(tabs.find((tab) => tab.id === memory.get("tab")) ?? tabs[0]);
}

// ---------------------------------------------------------------------------------------------
// The request tab.

const chosenCommand = () => COMMAND.get($("command").value);
// What was typed, by the name of the field, so that it is there for the next command as well.
const typed = new Map(form.typed);
const memoryName = (field) => field.remember ?? field.name;
const inputOf = (field) => $(`field-${field.name}`);
const isRaw = () => radio("mode") === "json";

function type(field, value) {
  typed.set(memoryName(field), value);
  remember("typed", [...typed]);
}

// Counts the changes of the form, so that an answer is known to be one to what it says.
let changes = 0;

// An answer goes when the form changes: it is one to another request.
function changed() {
  changes += 1;
  if ($("answered").textContent !== "") {
    clearAnswer("The form has changed since the last answer.");
  }
}

function clearAnswer(why) {
  for (const id of ["chips", "answered", "failed", "response-body", "sent", "curl"]) {
    $(id).replaceChildren();
  }
  $("failed").hidden = true;
  $("copy").disabled = true;
  say($("copy-state"), "");
  say($("outcome"), why);
}

function controlOf(field) {
  const id = `field-${field.name}`;
  const attributes = {
    id, "aria-describedby": `${id}-hint`, autocomplete: "off", spellcheck: "false",
    autocapitalize: "none", placeholder: field.sample,
  };
  if (field.required) {
    attributes["aria-required"] = "true";
  }
  if (field.kind === "choice") {
    const options = field.choices.map(([value, text]) => element("option", { value }, text));
    return element("select", { id, "aria-describedby": `${id}-hint` }, ...options);
  }
  if (field.kind === "accounts") {
    return element("textarea", { ...attributes, rows: 3 });
  }
  const inputmode = field.kind === "integer" ? "numeric" : "text";
  return element("input", { ...attributes, inputmode });
}

function hintOf(field) {
  return field.cap ? `${field.hint} One a line, at most ${field.cap}.` : field.hint;
}

function fieldRow(field) {
  const control = controlOf(field);
  control.value = typed.get(memoryName(field)) ?? (field.kind === "choice" ? field.sample : "");
  control.addEventListener("input", () => {
    type(field, control.value);
    showFieldError(control, "", hintOf(field));
    changed();
  });
  const label = element("label", { for: control.id }, field.name, " ",
    element("small", {}, field.required ? "required" : "optional"));
  const hint = element("p", { class: "hint", id: `${control.id}-hint` });
  return element("div", { class: "field" }, label, control, hint);
}

function showCommand() {
  const command = chosenCommand();
  say($("command-hint"), command.about);
  $("fields").replaceChildren(...command.fields.map(fieldRow));
  command.fields.forEach((field) => showFieldError(inputOf(field), "", hintOf(field)));
  if (isRaw()) {
    writeRaw();
  }
}

const linesOf = (text) => text.split("\n").map(trimmed).filter((line) => line !== "");

// What a field says is wrong before the server has to.
function errorOf(field, value) {
  if (value === "" && field.required) {
    return `${field.name} is needed.`;
  }
  const names = field.kind === "accounts" ? linesOf(value) : [value];
  if (field.cap && names.length > field.cap) {
    return `${names.length} accounts; at most ${field.cap} are taken.`;
  }
  const long = field.capBytes && names.find((name) => utf8Length(name) > field.capBytes);
  if (long) {
    return `“${escaped(long)}” is longer than ${field.capBytes} bytes.`;
  }
  if (field.kind === "integer" && value !== "" && !/^-?\d+$/.test(value)) {
    return `${field.name} is a whole number.`;
  }
  return "";
}

function valueOf(field, value) {
  switch (field.kind) {
    case "accounts": {
      const names = linesOf(value);
      return field.wrap ? names.map((name) => ({ [field.wrap]: name })) : names;
    }
    case "choice":
    case "integer":
      return Number(value);
    default:
      return value;
  }
}

// An empty optional field is left out.
function requestOfForm() {
  const values = chosenCommand().fields.map((field) => [field, trimmed(inputOf(field).value)]);
  const filled = values.filter(([field, value]) => field.required || value !== "");
  return Object.fromEntries(filled.map(([field, value]) => [field.name, valueOf(field, value)]));
}

function checkForm() {
  let first = null;
  for (const field of chosenCommand().fields) {
    const input = inputOf(field);
    const error = errorOf(field, trimmed(input.value));
    showFieldError(input, error, hintOf(field));
    first ??= error ? input : null;
  }
  first?.focus();
  return first === null;
}

function fillSample() {
  for (const field of chosenCommand().fields) {
    inputOf(field).value = field.sample;
    type(field, field.sample);
    showFieldError(inputOf(field), "", hintOf(field));
  }
  changed();
  if (isRaw()) {
    writeRaw();
  }
}

function writeRaw() {
  $("raw-body").value = JSON.stringify(requestOfForm(), null, 2);
  remember("raw-body", $("raw-body").value);
  judgeRaw();
}

// Anything may be sent here, since what the server says to it may be the question.
function judgeRaw() {
  let error = "";
  try {
    JSON.parse($("raw-body").value);
  } catch (cause) {
    error = `Not JSON, and sent all the same: ${cause.message}`;
  }
  showFieldError($("raw-body"), error);
}

function showMode() {
  $("raw").hidden = !isRaw();
  $("fields").hidden = isRaw();
}

async function sendRequest(event) {
  event.preventDefault();
  if ($("send").disabled || $("confirm").open || (!isRaw() && !checkForm())) {
    return;
  }
  const name = $("command").value;
  const body = isRaw() ? $("raw-body").value : JSON.stringify(requestOfForm());
  $("send").disabled = true;
  const isWanted = name !== "account_delete" || await confirmDelete(body);
  const before = changes;
  const answer = isWanted ? await send(name, body) : null;
  $("send").disabled = false;
  if (answer === null || answer.isGone) {
    return;
  }
  if (before !== changes) {
    const what = answer.code >= 0 ? `ErrorCode ${answer.code}` : meaning(answer);
    clearAnswer(`${labelOf(name, body)} was answered after the form had changed: ${what}.`);
    return;
  }
  showSent(answer);
  showVerdict(answer, labelOf(name, body));
  showErrorAtField(answer);
  scrollTo($("response-title"), $("outcome"));
}

const CONFIRMED_MAX = 10;

// Asks before accounts are deleted; true where they are to be. Cancel is what Enter presses.
function confirmDelete(body) {
  const items = parsed(body)?.DeleteItem;
  const names = (Array.isArray(items) ? items : []).map((item) =>
    String(item?.UserID ?? item?.Identifier ?? JSON.stringify(item)));
  say($("confirm-title"), names.length === 0 ? "Delete the accounts that the JSON names?"
    : `Delete ${accountsOf(names.length)}?`);
  const rest = names.length - CONFIRMED_MAX;
  $("confirm-names").replaceChildren(
    ...names.slice(0, CONFIRMED_MAX).map((name) => element("li", {}, nameOf(name))),
    ...(rest > 0 ? [element("li", {}, `and ${grouped.format(rest)} more`)] : []));
  const dialog = $("confirm");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// A command with the account it is about.
function labelOf(name, body) {
  const request = parsed(body);
  const items = request?.DeleteItem ?? request?.CheckItem ?? request?.AccountList ??
    request?.Accounts;
  const first = request?.From_Account ?? request?.UserID ?? request?.Identifier ??
    items?.[0]?.UserID ?? items?.[0]?.Identifier ?? items?.[0];
  if (typeof first !== "string" || first === "") {
    return name;
  }
  const more = items?.length > 1 ? ` and ${items.length - 1} more` : "";
  return `${name} of ${first}${more}`;
}

// The server names the field it means at the beginning of what it says.
function showErrorAtField(answer) {
  if (isRaw() || answer.code <= 0) {
    return;
  }
  const field = chosenCommand().fields.find(({ name }) => answer.info.startsWith(name));
  if (field) {
    const why = BAD_PARAMETER.includes(answer.code)
      ? answer.info : firstSentence(CODES.get(answer.code));
    showFieldError(inputOf(field), `${answer.code}: ${why}`);
  }
}

const firstSentence = (text = "") => text.slice(0, text.indexOf(".") + 1);
// Codes that say little without what the server says to them.
const BAD_PARAMETER = [30001, 70402];

let curlLine = { shown: "", whole: "" };

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function showSent(answer) {
  $("sent").replaceChildren(`POST ${answer.shown}\n`, "content-type: application/json\n\n",
    ...coloured(answer.body));
  // A body may begin with an at sign, which only --data-raw takes for itself.
  const line = (url) => `curl -sS ${quoted(url)} -H 'content-type: application/json' ` +
    `--data-raw ${quoted(answer.body)}`;
  curlLine = { shown: line(answer.shown), whole: line(answer.url) };
  $("curl").textContent = escaped(curlLine.shown);
  $("copy").disabled = false;
  say($("copy-state"), "");
}

// The copy has the whole ticket; what is shown does not, so that it may be looked at.
async function copyCurl() {
  try {
    await navigator.clipboard.writeText(curlLine.whole);
    say($("copy-state"), "Copied, with the whole UserSig.");
  } catch {
    $("curl").textContent = curlLine.whole;
    getSelection().selectAllChildren($("curl"));
    say($("copy-state"), "Selected; copy it with Ctrl+C.");
  }
}

function chip(text, tone) {
  return element("span", { class: `chip ${tone}` }, text);
}

// The items of an answer that failed, though it is fine as a whole, and how many items there are.
function failedItems(answer) {
  const request = parsed(answer.body);
  const names = answer.json?.FailAccounts ?? [];
  if (names.length > 0) {
    const count = (request?.AccountList?.length ?? 0) + (request?.Accounts?.length ?? 0);
    const why = "not imported: this cannot be the name of an account";
    return { count, failed: names.map((name) => ({ name, why })) };
  }
  const items = answer.json?.ResultItem ?? answer.json?.FollowInfo ?? [];
  const failed = items.filter((item) => item.ResultCode !== 0).map((item) => ({
    name: item.To_Account ?? item.UserID ?? "",
    why: `${item.ResultCode}, ${item.ResultInfo || CODES.get(item.ResultCode) || "unknown"}`,
  }));
  return { count: items.length, failed };
}

function showFailedItems(failed) {
  $("failed").replaceChildren(...failed.map(({ name, why }) =>
    element("li", {}, nameOf(name), ": ", ...seen(why))));
  $("failed").hidden = failed.length === 0;
}

function showVerdict(answer, label) {
  const { count, failed } = failedItems(answer);
  const isDone = answer.code === 0 && failed.length === 0;
  const chips = [];
  if (answer.status) {
    chips.push(chip(`HTTP ${answer.status}`, answer.status === 200 ? "" : "bad"));
  }
  if (answer.code >= 0) {
    chips.push(chip(`ErrorCode ${answer.code}`, isDone ? "good" : answer.code === 0 ? "" : "bad"));
  }
  if (answer.milliseconds !== null) {
    chips.push(chip(milliseconds(answer.milliseconds), ""));
  }
  $("chips").replaceChildren(...chips);
  say($("answered"), label);
  $("answered").title = escaped(label);
  const partly = `${grouped.format(failed.length)} of ${grouped.format(count)} items failed.`;
  say($("outcome"), failed.length > 0 ? partly : meaning(answer), isDone ? "" : "bad");
  showFailedItems(failed);
  const text = answer.json === null ? answer.text : JSON.stringify(answer.json, null, 2);
  $("response-body").replaceChildren(...coloured(text));
  $("response-body").scrollTop = 0;
}

const COLOURED_CHARACTERS_MAX = 100_000;
const TOKEN = /("(?:\\.|[^"\\])*")(\s*:)?|\b(?:true|false|null)\b|-?\b\d+(?:\.\d+)?\b/g;

function classOf([token, text, colon]) {
  if (text) {
    return colon ? "json-key" : "json-text";
  }
  return /^[tfn]/.test(token) ? "json-word" : "json-number";
}

// JSON as text nodes, with its strings and numbers marked; long ones are left plain. Characters
// that cannot be seen are escaped as JSON escapes them, so it remains the same JSON.
function coloured(json) {
  const text = escaped(json);
  if (text.length > COLOURED_CHARACTERS_MAX) {
    return [text];
  }
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(TOKEN)) {
    parts.push(text.slice(end, match.index));
    parts.push(element("span", { class: classOf(match) }, match[0]));
    end = match.index + match[0].length;
  }
  parts.push(text.slice(end));
  return parts;
}

function startRequest() {
  const groups = [["Follows", "follow"], ["Accounts", "im_open_login_svc"]];
  $("command").append(...groups.map(([label, service]) => {
    const commands = COMMANDS.filter((command) => command.service === service);
    const options = commands.map(({ name }) => element("option", { value: name }, name));
    return element("optgroup", { label }, ...options);
  }));
  keep("command");
  keepRadio("mode");
  $("command").addEventListener("change", () => {
    showCommand();
    changed();
  });
  onRadio("mode", () => {
    showMode();
    if (isRaw()) {
      writeRaw();
    }
    changed();
  });
  $("request-form").addEventListener("submit", sendRequest);
  $("request-form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      sendRequest(event);
    }
  });
  $("raw-body").addEventListener("input", () => {
    judgeRaw();
    changed();
  });
  for (const [id, value] of [["confirm-no", ""], ["confirm-yes", "yes"]]) {
    $(id).addEventListener("click", () => $("confirm").close(value));
  }
  $("sample").addEventListener("click", fillSample);
  $("copy").addEventListener("click", copyCurl);
  const raw = form["raw-body"];
  showCommand();
  showMode();
  keep("raw-body");
  if (isRaw() && raw !== undefined) {
    $("raw-body").value = raw;
    remember("raw-body", raw);
    judgeRaw();
  }
}

// ---------------------------------------------------------------------------------------------
// The account tab.

const LISTS = {
  1: {
    one: "follower", many: "followers", count: "FollowerCount",
    none: (account) => ["nobody follows ", account, "."],
  },
  2: {
    one: "followed account", many: "followed accounts", count: "FollowingCount",
    none: (account) => [account, " follows nobody."],
  },
  3: {
    one: "mutual follow", many: "mutual follows", count: "MutualFollowingCount",
    none: (account) => [account, " and nobody follow each other."],
  },
};
// The account that is shown with its counts, how it stands to the other, and the cursors of the
// pages so far.
const shown = {
  account: "", other: "", follows: false, counts: null, cursors: [""], next: "", before: 0,
};
// Answers to a question that was asked before the last one are dropped.
let question = 0;

const isUnknown = (code) => code === UNKNOWN_ACCOUNT || code === ILLEGAL_ACCOUNT;

// Puts what is wrong at the field it is about, and into the relation card; true when there is
// nothing wrong.
function accepts(answer, item, input, account) {
  const code = answer.code !== 0 ? answer.code : item?.ResultCode ?? 0;
  if (code === 0) {
    return true;
  }
  if (answer.isGone) {
    return false;
  }
  if (isUnknown(code)) {
    showFieldError(input, `${code}: ${CODES.get(code)}`);
    const why = code === UNKNOWN_ACCOUNT ? " was never imported." : " cannot be an account’s name.";
    say($("relation"), [nameOf(account), why], "bad");
    input.focus();
  } else {
    say($("relation"), `${code > 0 ? `${code}: ` : ""}${meaning(answer)}`, "bad");
  }
  return false;
}

function showCounts(info) {
  const counts = [
    ["followers", "FollowerCount"], ["following", "FollowingCount"],
    ["mutual", "MutualFollowingCount"],
  ];
  for (const [id, member] of counts) {
    $(`count-${id}`).textContent = info ? grouped.format(info[member]) : "–";
  }
  shown.counts = info;
  $("whose").replaceChildren(...(info ? cutName(shown.account) : []));
}

const ACCOUNT_HINTS = {
  account: "Whose counts and lists.", other: "To see, and change, who follows whom.",
};
const showAccountError = (id, error = "") => showFieldError($(id), error, ACCOUNT_HINTS[id]);

// Shows no account. What is still on its way is not shown either.
function forget() {
  question += 1;
  Object.assign(shown, { account: "", other: "", cursors: [""], next: "", before: 0 });
  showCounts(null);
  forgetRelation();
  clearList("Look an account up to see its lists.");
}

function forgetRelation() {
  shown.other = "";
  say($("relation"), "Enter another account to see who follows whom.");
  showChange();
}

// Without an account there is nothing to follow, and no button. Focus may be on the button, so it
// stays one that can be pressed while it works.
function showChange() {
  $("change").hidden = shown.other === "";
  const verb = shown.follows ? "Unfollow" : "Follow";
  $("change").replaceChildren(verb, ...(shown.other ? [" ", nameOf(shown.other)] : []));
  $("change").title = shown.other ? escaped(`${verb} ${shown.other}`) : "";
}

const RELATIONS = [
  (one, other) => [one, " and ", other, " do not follow each other."],
  (one, other) => [other, " follows ", one, ", who does not follow back."],
  (one, other) => [one, " follows ", other, ", who does not follow back."],
  (one, other) => [one, " and ", other, " follow each other."],
];

function showRelation(followType) {
  shown.follows = (followType & 2) !== 0;
  const sentence = RELATIONS[followType](nameOf(shown.account), nameOf(shown.other));
  say($("relation"), [...sentence, ` FollowType is ${followType}.`]);
  showChange();
}

async function readCounts() {
  const request = { From_Account: shown.account, To_Account: [shown.account] };
  const answer = await ask("follow_get_info", request);
  const item = answer.json?.FollowInfo?.[0];
  return { answer, item };
}

async function readRelation(asked) {
  const { account, other } = shown;
  if (other === "") {
    return;
  }
  const answer = await ask("follow_check", { From_Account: account, To_Account: [other] });
  if (asked !== question || other !== shown.other) {
    return;
  }
  const item = answer.json?.ResultItem?.[0];
  if (accepts(answer, item, $("other"), shown.other)) {
    showRelation(item.FollowType);
  } else {
    shown.other = "";
    showChange();
  }
}

async function lookUp(event) {
  event?.preventDefault();
  const [account, other] = [trimmed($("account").value), trimmed($("other").value)];
  forget();
  const asked = ++question;
  showAccountError("other");
  showAccountError("account", account === "" ? "An account is needed." : "");
  if (account === "") {
    $("account").focus();
    return;
  }
  Object.assign(shown, { account, other });
  const { answer, item } = await readCounts();
  if (asked !== question) {
    return;
  }
  if (!accepts(answer, item, $("account"), account)) {
    shown.account = shown.other = "";
    return;
  }
  showCounts(item);
  await Promise.all([readPage(asked), readRelation(asked)]);
  if (asked === question) {
    scrollTo($("whose"), $("relation").closest(".card"));
  }
}

async function change() {
  const asked = ++question;
  const { account, other, follows } = shown;
  const answer = follows
    ? await ask("follow_delete", { From_Account: account, To_Account: [other] })
    : await ask("follow_add", { From_Account: account, FollowItem: [{ To_Account: other }] });
  // The other account may have been changed meanwhile; then only the counts and the list are read.
  if (asked === question && (other !== shown.other || isChanged(answer, account, other))) {
    Object.assign(shown, { cursors: [""], before: 0 });
    await readAgain(asked);
  }
}

// Says why nothing was changed where nothing was.
function isChanged(answer, account, other) {
  const item = answer.json?.ResultItem?.[0];
  const code = answer.code !== 0 ? answer.code : item.ResultCode;
  if (isUnknown(code)) {
    shown.other = "";
    showChange();
  }
  if (answer.code === 0 && code !== 0 && !isUnknown(code)) {
    say($("relation"), `${code}: ${item.ResultInfo}`, "bad");
    return false;
  }
  const [input, name] = answer.code !== 0 ? [$("account"), account] : [$("other"), other];
  return accepts(answer, item, input, name);
}

async function readAgain(asked) {
  const { answer, item } = await readCounts();
  if (asked === question && accepts(answer, item, $("account"), shown.account)) {
    showCounts(item);
    await Promise.all([readRelation(asked), readPage(asked)]);
  }
}

const DATE = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit",
  second: "2-digit", timeZoneName: "short",
});

function timeOf(seconds) {
  if (seconds === 0) {
    return "not known";
  }
  const time = new Date(seconds * 1000);
  return element("time", { datetime: time.toISOString() }, DATE.format(time));
}

function listRow(item, at) {
  const link = element("button", {
    type: "button", class: "link cut", title: escaped(item.To_Account),
  }, nameOf(item.To_Account));
  link.addEventListener("click", () => {
    $("other").value = item.To_Account;
    remember("other", item.To_Account);
    lookUp();
  });
  const whole = item.To_Account.length > LONG_NAME ? [wholeButton(link)] : [];
  const cell = (name, ...children) => element("td", { class: name, role: "cell" }, ...children);
  return element("tr", { role: "row" }, cell("number", grouped.format(at + 1)),
    cell("name", element("div", {}, link, ...whole)), cell("date", timeOf(item.FollowTime)));
}

// A list that is empty, failed or not read yet takes no more room than what it says.
function clearList(text, tone = "") {
  $("list-rows").replaceChildren();
  $("list").hidden = $("pages").hidden = true;
  $("previous").disabled = $("next").disabled = true;
  say($("list-state"), text, tone);
}

function showPage(items) {
  const words = LISTS[radio("list")];
  const { before, cursors, counts } = shown;
  if (items.length === 0 && cursors.length === 1) {
    clearList([`No ${words.many}: `, ...words.none(nameOf(shown.account))]);
    return;
  }
  $("list").hidden = $("pages").hidden = false;
  $("list-rows").replaceChildren(...items.map((item, i) => listRow(item, before + i)));
  $("list").scrollTop = 0;
  const all = Math.max(counts[words.count], before + items.length);
  const size = `${items.length} of ${grouped.format(all)} ${all === 1 ? words.one : words.many}`;
  const end = shown.next === "" ? ", the last of them" : "";
  say($("list-state"), `Page ${cursors.length}: ${size}${end}.`);
  $("previous").disabled = cursors.length === 1;
  $("next").disabled = shown.next === "";
}

async function readPage(asked) {
  const answer = await ask("follow_get", {
    From_Account: shown.account,
    FollowType: Number(radio("list")),
    StartCursor: shown.cursors.at(-1),
    WantNum: Number($("page-size").value),
  });
  if (asked !== question) {
    return;
  }
  if (answer.isGone) {
    return;
  }
  if (answer.code !== 0) {
    const code = answer.code > 0 ? `${answer.code}: ` : "";
    clearList([`The ${LISTS[radio("list")].many} of `, nameOf(shown.account),
      ` could not be read. ${code}${meaning(answer)}`], "bad");
    return;
  }
  shown.next = answer.json.NextCursor;
  showPage(answer.json.FollowItem);
}

function readFirstPage() {
  if (shown.account === "") {
    return;
  }
  Object.assign(shown, { cursors: [""], before: 0 });
  readPage(++question);
}

// A button that is switched off loses the focus, so it goes to the one that is left.
async function turnPage(by) {
  const size = Number($("page-size").value);
  if (by > 0) {
    shown.cursors.push(shown.next);
  } else {
    shown.cursors.pop();
  }
  shown.before = (shown.cursors.length - 1) * size;
  await readPage(++question);
  const pressed = by > 0 ? $("next") : $("previous");
  if (pressed.disabled && !$("pages").hidden) {
    (by > 0 ? $("previous") : $("next")).focus();
  }
}

function swap() {
  [$("account").value, $("other").value] = [$("other").value, $("account").value];
  remember("account", $("account").value);
  remember("other", $("other").value);
  if ($("account").value !== "") {
    lookUp();
  }
}

function startAccount() {
  $("account-form").addEventListener("submit", lookUp);
  $("swap").addEventListener("click", swap);
  $("change").addEventListener("click", change);
  $("previous").addEventListener("click", () => turnPage(-1));
  $("next").addEventListener("click", () => turnPage(1));
  $("page-size").addEventListener("change", readFirstPage);
  onRadio("list", readFirstPage);
  for (const [id, clear] of [["account", forget], ["other", forgetRelation]]) {
    $(id).addEventListener("input", () => {
      showAccountError(id);
      clear();
    });
    showAccountError(id);
  }
  ["account", "other", "page-size"].forEach(keep);
  keepRadio("list");
  forget();
}

// ---------------------------------------------------------------------------------------------
// Charts: what both have.

const MARGIN = { left: 62, right: 18, top: 14, bottom: 46 };

const logScale = (low, high, from, to) => (value) =>
  from + (Math.log(value / low) / Math.log(high / low)) * (to - from);
const linearScale = (low, high, from, to) => (value) =>
  from + ((value - low) / (high - low)) * (to - from);

// The powers of ten around the values, at least one decade.
function decades(low, high) {
  const first = Math.floor(Math.log10(low));
  const last = Math.max(Math.ceil(Math.log10(high)), first + 1);
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
}

function line(className, x1, y1, x2, y2) {
  return drawing("line", { class: className, x1, y1, x2, y2 });
}

function label(text, x, y, anchor, className = "") {
  return drawing("text", { class: className, x, y, "text-anchor": anchor }, text);
}

// The frame of a chart of the size that its place has, with nothing in it yet.
function frame(place, description) {
  const width = Math.max(place.clientWidth, 240);
  const height = place.clientHeight;
  const svg = drawing("svg", {
    width, height, viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0,
    "aria-label": description,
  });
  const box = {
    left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom,
  };
  return { svg, box };
}

function yAxis(svg, box, ticks, y, title) {
  for (const tick of ticks) {
    svg.append(line("grid", box.left, y(tick), box.right, y(tick)),
      label(short.format(tick), box.left - 8, y(tick) + 4, "end"));
  }
  const middle = (box.top + box.bottom) / 2;
  svg.append(line("axis", box.left, box.top, box.left, box.bottom), drawing("text", {
    class: "axis-label", transform: `translate(14 ${middle}) rotate(-90)`, "text-anchor": "middle",
  }, title));
}

function xAxis(svg, box, ticks, x, title) {
  for (const tick of ticks) {
    svg.append(line("grid", x(tick), box.top, x(tick), box.bottom),
      label(short.format(tick), x(tick), box.bottom + 18, "middle"));
  }
  svg.append(line("axis", box.left, box.bottom, box.right, box.bottom),
    label(title, (box.left + box.right) / 2, box.bottom + 38, "middle", "axis-label"));
}

// The point that the pointer or the keyboard is at gets a ring and its numbers beside it.
function addTips(svg, box, points, state) {
  const ring = drawing("circle", { class: "active", r: 6, visibility: "hidden" });
  const tip = drawing("g", { class: "tip", visibility: "hidden" });
  svg.append(ring, tip);
  let active = -1;
  const show = (at, aloud) => {
    active = at;
    const point = points[at];
    ring.setAttribute("visibility", point ? "visible" : "hidden");
    tip.setAttribute("visibility", point ? "visible" : "hidden");
    if (point) {
      ring.setAttribute("cx", point.x);
      ring.setAttribute("cy", point.y);
      placeTip(tip, box, point);
      if (aloud) {
        say(state, point.lines.join(", "));
      }
    }
  };
  svg.addEventListener("pointermove", (event) => {
    const corner = svg.getBoundingClientRect();
    show(nearest(points, event.clientX - corner.left, event.clientY - corner.top), false);
  });
  svg.addEventListener("pointerleave", () => show(-1, false));
  svg.addEventListener("blur", () => show(-1, false));
  svg.addEventListener("keydown", (event) => {
    const moves = {
      ArrowRight: active + 1, ArrowLeft: active < 0 ? points.length - 1 : active - 1,
      Home: 0, End: points.length - 1, Escape: -1,
    };
    if (event.key in moves) {
      event.preventDefault();
      const last = points.length - 1;
      show(event.key === "Escape" ? -1 : Math.min(Math.max(moves[event.key], 0), last), true);
    }
  });
}

function nearest(points, x, y) {
  let best = -1;
  let least = 40 ** 2;
  points.forEach((point, at) => {
    const distance = (point.x - x) ** 2 + (point.y - y) ** 2;
    if (distance < least) {
      [best, least] = [at, distance];
    }
  });
  return best;
}

function placeTip(tip, box, point) {
  const width = Math.max(...point.lines.map((text) => text.length)) * 6.8 + 20;
  const height = point.lines.length * 17 + 11;
  const x = Math.min(Math.max(point.x - width / 2, 4), box.right - width);
  const above = point.y - height - 12;
  const y = above > 0 ? above : point.y + 12;
  tip.setAttribute("transform", `translate(${x} ${y})`);
  tip.replaceChildren(drawing("rect", { width, height, rx: 6 }), ...point.lines.map((text, i) =>
    label(text, 10, 19 + i * 17, "start")));
}

function addPoint(svg, points, { x, y, lines, data, className = "point", radius = 3.5 }) {
  const dot = drawing("circle", { class: className, cx: x, cy: y, r: radius });
  Object.assign(dot.dataset, data);
  svg.append(dot);
  points.push({ x, y, lines });
}

// ---------------------------------------------------------------------------------------------
// Follower counts.

const ZERO_SLOT = 44;
let buckets = null;

// Each bucket with the accounts in it and in all above it.
function withSums(raw) {
  const renamed = raw.map((bucket) => ({ followers: bucket.Followers, accounts: bucket.Accounts }));
  const sorted = renamed.sort((a, b) => b.followers - a.followers);
  let atLeast = 0;
  for (const bucket of sorted) {
    atLeast += bucket.accounts;
    bucket.atLeast = atLeast;
  }
  return sorted.reverse();
}

async function readBuckets() {
  $("refresh").disabled = true;
  const answer = await post("/console/follower_counts", "{}");
  $("refresh").disabled = false;
  if (answer.isGone) {
    return;
  }
  if (answer.code !== 0) {
    say($("counts-state"), `${answer.code > 0 ? `${answer.code}: ` : ""}${meaning(answer)}`, "bad");
    return;
  }
  buckets = withSums(answer.json.Buckets);
  showBuckets();
}

function clearBuckets() {
  buckets = null;
  $("counts-rows").replaceChildren();
  say($("counts-state"), "");
  drawBuckets();
}

const accountsOf = (count) => `${grouped.format(count)} ${count === 1 ? "account" : "accounts"}`;
const followersOf = (count) => `${grouped.format(count)} ${count === 1 ? "follower" : "followers"}`;

function bucketWords(bucket, measure) {
  if (measure === "atLeast") {
    return [accountsOf(bucket.atLeast), `with at least ${followersOf(bucket.followers)}`];
  }
  const isExact = bucket.followers <= 16;
  return [accountsOf(bucket.accounts),
    isExact ? `with ${followersOf(bucket.followers)}` : `from ${followersOf(bucket.followers)} on`];
}

function showBuckets() {
  const cell = (value) => element("td", { class: "number" }, grouped.format(value));
  $("counts-rows").replaceChildren(...buckets.map((bucket) =>
    element("tr", {}, cell(bucket.followers), cell(bucket.accounts), cell(bucket.atLeast))));
  const total = buckets[0]?.atLeast ?? 0;
  say($("counts-state"), total === 0 ? "There are no accounts yet."
    : `${accountsOf(total)}; above 16 followers, counts close to each other share a bucket.`);
  drawBuckets();
}

// Between two buckets as many accounts have at least that many followers as at the upper one.
function addSteps(svg, sorted, x, y) {
  const corners = sorted.map((bucket) => [x(bucket.followers), y(bucket.atLeast)]);
  const steps = corners.map(([right, level], at) =>
    at === 0 ? `M${right} ${level}` : `V${level}H${right}`);
  svg.append(drawing("path", { class: "trace", d: steps.join("") }));
}

// A count of 0 has no place on a logarithmic axis, so it stands apart, left of where that begins.
function drawBuckets() {
  const place = $("counts-chart");
  const measure = radio("measure");
  const { svg, box } = frame(place, "Accounts by number of followers, both logarithmic; arrow " +
    "keys go from point to point. The same numbers are in the table below.");
  const kept = (buckets ?? []).filter((bucket) => bucket[measure] > 0);
  const most = Math.max(1, ...kept.map((bucket) => bucket[measure]));
  const widest = Math.max(10, ...kept.map((bucket) => bucket.followers));
  const yTicks = decades(1, most);
  const xTicks = decades(1, widest);
  const y = logScale(1, yTicks.at(-1), box.bottom - 6, box.top + 6);
  const xLog = logScale(1, xTicks.at(-1), box.left + ZERO_SLOT, box.right - 10);
  const x = (followers) => (followers === 0 ? box.left + 16 : xLog(followers));
  yAxis(svg, box, yTicks, y, "Accounts");
  xAxis(svg, box, [0, ...xTicks], x, "Followers");
  const gap = (x(0) + x(1)) / 2;
  svg.append(line("axis", gap - 5, box.bottom + 5, gap - 1, box.bottom - 5),
    line("axis", gap + 1, box.bottom + 5, gap + 5, box.bottom - 5));
  if (measure === "atLeast") {
    addSteps(svg, kept.filter((bucket) => bucket.followers > 0), x, y);
  }
  const points = [];
  for (const bucket of kept) {
    addPoint(svg, points, {
      x: x(bucket.followers), y: y(bucket[measure]), lines: bucketWords(bucket, measure),
      data: { followers: bucket.followers, accounts: bucket[measure] },
    });
  }
  addTips(svg, box, points, $("counts-state"));
  place.replaceChildren(svg);
}

// ---------------------------------------------------------------------------------------------
// Latency.

const REPEATS = 200;
// 125 a second: below the 200 a second that the server takes unless configured otherwise.
const REPEAT_EVERY_MS = 8;
let repeating = false;
// Why the last repetition ended early.
let refusal = "";

// The least value that the share of all does not exceed.
function percentile(sorted, share) {
  return sorted[Math.max(Math.ceil(sorted.length * share) - 1, 0)];
}

function summary(list) {
  const sorted = list.map((sample) => sample.milliseconds).sort((a, b) => a - b);
  return {
    count: sorted.length, p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99),
    longest: sorted.at(-1),
  };
}

function showLatencyTable() {
  const names = [...new Set(samples.map((sample) => sample.name))];
  $("latency-rows").replaceChildren(...names.map((name) => {
    const { count, p50, p99, longest } =
      summary(samples.filter((sample) => sample.name === name));
    const cell = (text) => element("td", { class: "number" }, text);
    return element("tr", {}, element("td", {}, name), cell(grouped.format(count)),
      ...[p50, p99, longest].map((value) => cell(value.toFixed(1))));
  }));
}

function stepTicks(count) {
  const rough = count / 5;
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= rough);
  return Array.from({ length: Math.floor(count / step) }, (_, i) => (i + 1) * step);
}

// The two lines say their own names; where they are close the names give way to each other.
function addPercentiles(svg, box, y, { p50, p99 }) {
  const isClose = y(p50) - y(p99) < 30;
  for (const [name, value, offset] of [["p50", p50, isClose ? 16 : -6], ["p99", p99, -6]]) {
    svg.append(line(name, box.left, y(value), box.right, y(value)),
      label(`${name} ${milliseconds(value)}`, box.right - 6, y(value) + offset, "end",
        `${name}-label`));
  }
}

function drawLatency() {
  const place = $("latency-chart");
  const { svg, box } = frame(place, "Time of each request in milliseconds, logarithmic, in the " +
    "order they were sent; arrow keys go from point to point. The table below sums them up.");
  const times = samples.map((sample) => Math.max(sample.milliseconds, 0.1));
  const yTicks = decades(Math.min(1, ...times), Math.max(10, ...times));
  const last = Math.max(samples.length, 10);
  const y = logScale(yTicks[0], yTicks.at(-1), box.bottom - 6, box.top + 6);
  const x = linearScale(0, last, box.left, box.right - 10);
  yAxis(svg, box, yTicks, y, "Milliseconds");
  xAxis(svg, box, stepTicks(last), x, "Requests, in the order they were sent");
  const points = [];
  samples.forEach((sample, at) => addPoint(svg, points, {
    x: x(at + 1), y: y(times[at]), radius: samples.length > 300 ? 2.2 : 3,
    className: sample.refused ? "point refused" : "point",
    lines: [`${milliseconds(sample.milliseconds)}${sample.refused ? ", refused" : ""}`,
      `${sample.name}, request ${at + 1}`],
    data: { milliseconds: sample.milliseconds, command: sample.name },
  }));
  if (samples.length > 0) {
    addPercentiles(svg, box, y, summary(samples));
  }
  addTips(svg, box, points, $("latency-state"));
  place.replaceChildren(svg);
  showLatencyTable();
  showLatencyState();
}

function showLatencyState() {
  $("clear").disabled = samples.length === 0 || repeating;
  $("repeat").disabled = lastRead === null;
  say($("repeat-what"), `the last read-only request, ${lastRead?.name ?? "once there is one"}`);
  if (samples.length === 0) {
    say($("latency-state"), "From sending to the whole answer, with the browser’s own share.");
    return;
  }
  const { count, p50, p99 } = summary(samples);
  const refused = samples.filter((sample) => sample.refused).length;
  say($("latency-state"), `${grouped.format(count)} requests: p50 ${milliseconds(p50)}, ` +
    `p99 ${milliseconds(p99)}${refused ? `, ${refused} refused (red rings)` : ""}.${refusal}`,
  refusal ? "bad" : "");
}

// Pressing the button again stops it, and so does the first refusal.
async function repeat() {
  if (repeating) {
    repeating = false;
    return;
  }
  repeating = true;
  const { name, body } = lastRead;
  refusal = "";
  $("clear").disabled = true;
  for (let done = 0; done < REPEATS && repeating; done += 1) {
    const begun = performance.now();
    $("repeat").textContent = `Stop (${done} sent)`;
    const answer = await send(name, body);
    if (answer.code !== 0) {
      const code = answer.code > 0 ? `${answer.code}: ` : "";
      refusal = answer.isGone ? "" : ` Stopped at a refusal: ${code}${meaning(answer)}`;
      break;
    }
    await pause(Math.max(REPEAT_EVERY_MS - (performance.now() - begun), 0));
  }
  repeating = false;
  $("repeat").textContent = `Repeat ${REPEATS} times`;
  drawLatency();
}

function clearSamples() {
  samples.length = 0;
  refusal = "";
  drawLatency();
  $("repeat").focus();
}

function showCharts() {
  drawLatency();
  drawBuckets();
  if ($("usersig").value === "") {
    say($("counts-state"), "Sign in to see them.");
  } else {
    readBuckets();
  }
}

function startCharts() {
  $("refresh").addEventListener("click", readBuckets);
  $("repeat").addEventListener("click", repeat);
  $("clear").addEventListener("click", clearSamples);
  keepRadio("measure");
  onRadio("measure", drawBuckets);
  // Drawn in pixels of their place, so that letters keep their size when it gets narrow.
  let width = 0;
  new ResizeObserver(([entry]) => {
    if (entry.contentRect.width > 0 && entry.contentRect.width !== width) {
      width = entry.contentRect.width;
      drawBuckets();
      drawLatency();
    }
  }).observe($("counts-chart"));
}

// ---------------------------------------------------------------------------------------------

startTheme();
startRequest();
startAccount();
startCharts();
startTabs();
await startSignIn();
if (!$("panel-charts").hidden) {
  showCharts();
}
