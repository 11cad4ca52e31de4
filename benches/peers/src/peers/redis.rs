//! Redis, a server of its own behind a Unix socket.
//!
//! What was tuned: one sorted set a list, with the time as score, so that a page is `ZRANGE` and a
//! count `ZCARD`; the mutual counter beside them, kept by a script, which is atomic; batches in one
//! pipeline; known followers by `ZINTERCARD`; no port, no snapshots. Loading is a pipeline of
//! `ZADD`s with many members, without a log; then the log is turned on, which writes it in compact
//! form. Waiting for the disk is `appendfsync always`, not waiting `everysec`.

use super::{Entry, Peer, Place};
use crate::follows::Follow;
use crate::numbered::Numbered;
use crate::resident::Resident;
use anyhow::{Context, Result, bail, ensure};
use followgraph::Counts;
use redis::{Commands, Connection, Pipeline, Script};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = "redis-server";
/// The longest a server may take to load its log or to write it.
const PATIENCE: Duration = Duration::from_mins(10);
const POLL: Duration = Duration::from_millis(2);
/// How many members a pipeline of the load has, and how many of them one command.
const PIPELINE_MEMBERS: usize = 10_000;
const COMMAND_MEMBERS: usize = 1_000;

/// Keys: following of the one, followers and following of the other, mutual of both. Arguments: the
/// two names, the time.
const FOLLOW: &str = "
    if redis.call('ZADD', KEYS[1], 'NX', ARGV[3], ARGV[2]) == 0 then return 0 end
    redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
    if redis.call('ZSCORE', KEYS[3], ARGV[1]) then
        redis.call('INCR', KEYS[4])
        redis.call('INCR', KEYS[5])
    end
    return 1";
const REFOLLOW: &str = "
    if not redis.call('ZSCORE', KEYS[1], ARGV[2]) then return 0 end
    redis.call('ZADD', KEYS[1], 'XX', ARGV[3], ARGV[2])
    redis.call('ZADD', KEYS[2], 'XX', ARGV[3], ARGV[1])
    return 1";
const UNFOLLOW: &str = "
    if redis.call('ZREM', KEYS[1], ARGV[2]) == 0 then return 0 end
    redis.call('ZREM', KEYS[2], ARGV[1])
    if redis.call('ZSCORE', KEYS[3], ARGV[1]) then
        redis.call('DECR', KEYS[4])
        redis.call('DECR', KEYS[5])
    end
    return 1";

fn followers_key(name: &str) -> String {
    format!("r:{name}")
}

fn following_key(name: &str) -> String {
    format!("g:{name}")
}

fn mutual_key(name: &str) -> String {
    format!("m:{name}")
}

pub(super) fn missing() -> Option<String> {
    version().err().map(|error| format!("{error:#}"))
}

pub(super) fn version() -> Result<String> {
    let output = Command::new(PROGRAM)
        .arg("--version")
        .output()
        .with_context(|| format!("{PROGRAM} cannot be started"))?;
    let text = String::from_utf8(output.stdout)?;
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v="));
    Ok(version.with_context(|| format!("{PROGRAM} tells no version"))?.to_owned())
}

/// A server that this process has started, and stops.
struct Server {
    child: Child,
    connection: Connection,
}

impl Server {
    fn start(directory: &Path, is_logging: bool) -> Result<Server> {
        let socket = socket_path();
        let child = Command::new(PROGRAM)
            .args(["--port", "0", "--save", "", "--daemonize", "no", "--loglevel", "warning"])
            .arg("--unixsocket")
            .arg(&socket)
            .arg("--dir")
            .arg(directory)
            .args(["--appendonly", if is_logging { "yes" } else { "no" }])
            .args(["--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"])
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("{PROGRAM} cannot be started"))?;
        let mut guard = Guard(Some(child));
        let client = redis::Client::open(format!("unix://{}", socket.display()))?;
        let start = Instant::now();
        loop {
            let answer = client.get_connection().and_then(|mut connection| {
                redis::cmd("PING").exec(&mut connection).map(|()| connection)
            });
            match answer {
                Ok(connection) => {
                    let child = guard.0.take().context("the server is gone")?;
                    return Ok(Server { child, connection });
                }
                Err(error) if start.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => guard.check()?,
            }
            std::thread::sleep(POLL);
        }
    }

    fn info(&mut self, field: &str) -> Result<String> {
        let text: String = redis::cmd("INFO").query(&mut self.connection)?;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
        Ok(line.with_context(|| format!("no {field}"))?.trim().to_owned())
    }

    fn config(&mut self, name: &str, value: &str) -> Result<()> {
        Ok(redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(&mut self.connection)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that shuts down orderly answers nothing, so the result says nothing.
        let _ = redis::cmd("SHUTDOWN").arg("NOSAVE").exec(&mut self.connection);
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(POLL);
        }
        stop(&mut self.child);
    }
}

/// Stops a server that does not get as far as answering.
struct Guard(Option<Child>);

impl Guard {
    fn check(&mut self) -> Result<()> {
        let child = self.0.as_mut().context("the server is gone")?;
        match child.try_wait()? {
            Some(status) => bail!("{PROGRAM} ended with {status}"),
            None => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(child) = self.0.as_mut() {
            stop(child);
        }
    }
}

fn stop(child: &mut Child) {
    // It may have ended by itself; then there is nothing to stop.
    let _ = child.kill();
    let _ = child.wait();
}

/// A path short enough for a socket, whatever the directory of the graph is.
fn socket_path() -> PathBuf {
    std::env::temp_dir().join(format!("followgraph-peers-{}.sock", std::process::id()))
}

pub(super) fn load(place: &Place) -> Result<()> {
    let mut graph = Numbered::read(&place.follows)?;
    graph.sort_by_follower();
    let counts = graph.counts();
    let mut server = Server::start(&place.directory, false)?;
    add(&mut server.connection, &graph, |follow| (follow.from, follow.to), following_key)?;
    graph.sort_followers_newest_first();
    add(&mut server.connection, &graph, |follow| (follow.to, follow.from), followers_key)?;
    let mut pipeline = redis::pipe();
    for (name, counts) in graph.names.iter().zip(&counts).filter(|(_, counts)| counts.mutual > 0) {
        pipeline.set(mutual_key(name), counts.mutual).ignore();
        if pipeline.len() == PIPELINE_MEMBERS {
            send(&mut server.connection, &mut pipeline)?;
        }
    }
    send(&mut server.connection, &mut pipeline)?;
    drop(graph);
    server.config("appendonly", "yes")?;
    let start = Instant::now();
    while server.info("aof_rewrite_in_progress")? != "0"
        || server.info("aof_rewrite_scheduled")? != "0"
    {
        ensure!(start.elapsed() < PATIENCE, "the log is not written");
        std::thread::sleep(POLL);
    }
    ensure!(server.info("aof_last_bgrewrite_status")? == "ok", "the log could not be written");
    Ok(())
}

/// Adds one of the two lists of all accounts. The follows must be grouped by the list's owner.
fn add(
    connection: &mut Connection,
    graph: &Numbered,
    owner_and_other: impl Fn(&Follow) -> (u32, u32),
    key: impl Fn(&str) -> String,
) -> Result<()> {
    let mut pipeline = redis::pipe();
    let mut member_count = 0;
    let same_owner =
        |one: &Follow, next: &Follow| owner_and_other(one).0 == owner_and_other(next).0;
    for list in graph.follows.chunk_by(same_owner) {
        let owner = key(&graph.names[owner_and_other(&list[0]).0 as usize]);
        for part in list.chunks(COMMAND_MEMBERS) {
            let command = pipeline.cmd("ZADD").arg(&owner);
            for follow in part {
                command.arg(follow.at).arg(&graph.names[owner_and_other(follow).1 as usize]);
            }
            command.ignore();
            member_count += part.len();
            if member_count >= PIPELINE_MEMBERS {
                send(connection, &mut pipeline)?;
                member_count = 0;
            }
        }
    }
    send(connection, &mut pipeline)
}

fn send(connection: &mut Connection, pipeline: &mut Pipeline) -> Result<()> {
    if !pipeline.is_empty() {
        pipeline.exec(connection)?;
        pipeline.clear();
    }
    Ok(())
}

pub(super) struct Redis {
    server: Server,
    follow: Script,
    refollow: Script,
    unfollow: Script,
}

impl Redis {
    pub(super) fn open(place: &Place) -> Result<Redis> {
        Ok(Redis {
            server: Server::start(&place.directory, true)?,
            follow: Script::new(FOLLOW),
            refollow: Script::new(REFOLLOW),
            unfollow: Script::new(UNFOLLOW),
        })
    }

    fn page(&mut self, key: &str, limit: usize, page: &mut Vec<Entry>) -> Result<()> {
        let newest: Vec<(String, u32)> =
            self.server.connection.zrevrange_withscores(key, 0, limit as isize - 1)?;
        page.clear();
        page.extend(newest.into_iter().map(|(account, at)| Entry { account, at }));
        Ok(())
    }
}

/// Calls one of the scripts above.
fn call(
    script: &Script,
    connection: &mut Connection,
    (from, to): (&str, &str),
    at: u32,
) -> Result<bool> {
    let mut call = script.prepare_invoke();
    call.key(following_key(from)).key(followers_key(to)).key(following_key(to));
    call.key(mutual_key(from)).key(mutual_key(to)).arg(from).arg(to).arg(at);
    Ok(call.invoke(connection)?)
}

impl Peer for Redis {
    fn counts(&mut self, names: &[String], results: &mut Vec<Counts>) -> Result<()> {
        let mut pipeline = redis::pipe();
        for name in names {
            pipeline.zcard(followers_key(name)).zcard(following_key(name)).get(mutual_key(name));
        }
        let answers: Vec<Option<u32>> = pipeline.query(&mut self.server.connection)?;
        results.clear();
        results.extend(answers.chunks_exact(3).map(|counts| {
            let [followers, following, mutual] = [0, 1, 2].map(|place| counts[place].unwrap_or(0));
            Counts { followers, following, mutual }
        }));
        Ok(())
    }

    fn newest_followers(&mut self, name: &str, limit: usize, page: &mut Vec<Entry>) -> Result<()> {
        self.page(&followers_key(name), limit, page)
    }

    fn newest_following(&mut self, name: &str, limit: usize, page: &mut Vec<Entry>) -> Result<()> {
        self.page(&following_key(name), limit, page)
    }

    fn known_followers(
        &mut self,
        viewer: &str,
        targets: &[String],
        results: &mut Vec<u32>,
    ) -> Result<()> {
        let viewer = following_key(viewer);
        let mut pipeline = redis::pipe();
        for target in targets {
            pipeline.cmd("ZINTERCARD").arg(2).arg(&viewer).arg(followers_key(target));
        }
        *results = pipeline.query(&mut self.server.connection)?;
        Ok(())
    }

    fn is_following(&mut self, from: &str, to: &str) -> Result<bool> {
        let at: Option<u32> = self.server.connection.zscore(following_key(from), to)?;
        Ok(at.is_some())
    }

    fn follow(&mut self, from: &str, to: &str, at: u32) -> Result<bool> {
        call(&self.follow, &mut self.server.connection, (from, to), at)
    }

    fn refollow(&mut self, from: &str, to: &str, at: u32) -> Result<bool> {
        call(&self.refollow, &mut self.server.connection, (from, to), at)
    }

    fn unfollow(&mut self, from: &str, to: &str) -> Result<bool> {
        call(&self.unfollow, &mut self.server.connection, (from, to), 0)
    }

    fn wait_for_disk(&mut self, wait: bool) -> Result<()> {
        self.server.config("appendfsync", if wait { "always" } else { "everysec" })
    }

    fn resident(&mut self, _before: Resident) -> Result<Resident> {
        Resident::of(self.server.child.id())
    }
}
