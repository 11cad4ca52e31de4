//! Servers that are too old accept what they do not understand, so none of them may take part.

use super::options::NatsOptions;
use crate::error::{Error, ErrorKind, Result};
use async_nats::{Client, ServerInfo};
use futures_util::future::join_all;

/// The lowest version of a server. Older ones lost what they had confirmed when the members of the
/// cluster changed.
pub(super) const MINIMUM_VERSION: &str = "2.12.3";

type Version = (u64, u64, u64);

/// Major, minor and patch; what follows them is left out. A pre-release counts as the release.
fn parse(text: &str) -> Option<Version> {
    let plain = text.trim_start_matches('v').split(['-', '+']).next()?;
    let mut numbers = plain.split('.').map(|part| part.parse().ok());
    let version = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some(version)
}

/// Whether a server may take part.
pub(super) fn check(options: &NatsOptions, server: &str, version: &str) -> Result<()> {
    let minimum = options.minimum_version.as_deref().unwrap_or(MINIMUM_VERSION);
    let is_enough = match (parse(version), parse(minimum)) {
        (Some(version), Some(minimum)) => version >= minimum,
        _ => false,
    };
    if is_enough {
        return Ok(());
    }
    let message = format!(
        "log server {server} is nats-server {version:?}, and {minimum} or later is needed: replace \
         it"
    );
    Err(Error::new(ErrorKind::Incompatible, message))
}

pub(super) fn check_info(options: &NatsOptions, info: &ServerInfo) -> Result<()> {
    let server = format!("{} at {}:{}", info.server_name, info.host, info.port);
    check(options, &server, &info.version)
}

/// Asks every server that the client knows of. One that cannot be reached is not seen.
pub(super) async fn check_all(options: &NatsOptions, client: &Client) -> Result<()> {
    check_info(options, &client.server_info())?;
    let Ok(pool) = client.server_pool().await else {
        return Ok(());
    };
    let checks = pool.into_iter().map(|server| async move {
        let connect = options.connect_options().await?.ignore_discovered_servers();
        match connect.connect(server.addr).await {
            Ok(client) => check_info(options, &client.server_info()),
            Err(_) => Ok(()),
        }
    });
    join_all(checks).await.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let options = NatsOptions::new(["nats://h:1"], "a");
        for version in ["2.12.3", "v2.12.10", "2.15.1", "3.0.0", "2.14.0-rc.1", "2.12.3+build"] {
            check(&options, "n1", version).unwrap();
        }
        for version in ["2.12.2", "2.9.10", "1.99.99", "", "2.12", "2.12.3.4", "new", "2.x.9"] {
            let error = check(&options, "n1", version).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Incompatible, "{version}");
            let shown = error.to_string();
            assert!(shown.contains(version) && shown.contains("2.12.3"), "{shown}");
        }
    }
}
