// A real server with an empty graph, the browser, and what a test needs of both.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { deflateSync } from "node:zlib";
import { chromium } from "playwright-core";

const START_MS = 20_000;
const ADDRESS = /listening on (http:\/\/127\.0\.0\.1:\d+)/;

// Starts the server on a free port and gives its address and the way to stop it.
export async function startServer(binary) {
  const data = await mkdtemp(join(tmpdir(), "followgraph-console."));
  const server = spawn(binary, ["serve", "--dev", "--listen", "127.0.0.1:0", "--data", data], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const ended = new Promise((resolve) => server.once("close", resolve));
  const origin = await addressOf(server);
  const stop = async () => {
    server.kill("SIGTERM");
    await ended;
    await rm(data, { recursive: true, force: true });
  };
  return { origin, stop };
}

function addressOf(server) {
  const said = [];
  return new Promise((resolve, reject) => {
    const fail = (why) => reject(new Error(`${why}\n${said.join("\n")}`));
    const timer = setTimeout(() => {
      server.kill("SIGKILL");
      fail("the server does not say where it listens");
    }, START_MS);
    server.once("error", (error) => fail(error.message));
    server.once("close", (code) => fail(`the server ended with ${code}`));
    createInterface({ input: server.stderr }).on("line", (line) => {
      said.push(line);
      const address = ADDRESS.exec(line)?.[1];
      if (address) {
        clearTimeout(timer);
        resolve(address);
      }
    });
  });
}

export function startBrowser() {
  const isRoot = process.getuid?.() === 0;
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // Its sandbox does not work for root.
    args: isRoot ? ["--no-sandbox"] : [],
  });
}

// A client of the API beside the page, to make accounts and to know the numbers.
export async function apiClient(origin) {
  const ticket = await (await fetch(`${origin}/console/dev.json`)).json();
  const query = new URLSearchParams({ ...ticket, random: 1, contenttype: "json" });
  const post = async (path, body) => {
    const response = await fetch(`${origin}${path}?${query}`, {
      method: "POST", body: JSON.stringify(body),
    });
    const answer = await response.json();
    assert.equal(answer.ErrorCode, 0, `${path}: ${answer.ErrorInfo}`);
    return answer;
  };
  return {
    ticket,
    follow: (command, body) => post(`/v4/follow/${command}`, body),
    accounts: (command, body) => post(`/v4/im_open_login_svc/${command}`, body),
    followerCounts: () => post("/console/follower_counts", {}),
  };
}

// A ticket as the published generators make them, with a key that is not the server's.
export function foreignTicket({ sdkappid, identifier }) {
  const [time, expire] = [Math.floor(Date.now() / 1000), 86_400];
  const content = `TLS.identifier:${identifier}\nTLS.sdkappid:${sdkappid}\n` +
    `TLS.time:${time}\nTLS.expire:${expire}\n`;
  const document = {
    "TLS.ver": "2.0", "TLS.identifier": identifier, "TLS.sdkappid": sdkappid,
    "TLS.expire": expire, "TLS.time": time,
    "TLS.sig": createHmac("sha256", "a key of nobody").update(content).digest("base64"),
  };
  const alphabet = { "+": "*", "/": "-", "=": "_" };
  const deflated = deflateSync(JSON.stringify(document)).toString("base64");
  return deflated.replace(/[+/=]/g, (letter) => alphabet[letter]);
}
