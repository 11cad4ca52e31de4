//! Users, tokens and TLS.

use super::super::servers::LogServers;
use super::{alone, run};
use bytes::Bytes;
use followgraph::ErrorKind;
use followgraph::cluster::{Log, Nats, NatsCredentials};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::path::{Path, PathBuf};

#[test]
fn users_and_tokens_open_the_door_and_wrong_ones_are_named_as_such() {
    let password = |password: &str| NatsCredentials::Password {
        user: "graph".to_owned(),
        password: password.to_owned(),
    };
    let token = |token: &str| NatsCredentials::Token(token.to_owned());
    for (config, right, wrong) in [
        ("authorization { user: graph, password: right }", password("right"), password("wrong")),
        ("authorization { token: right }", token("right"), token("wrong")),
    ] {
        let Some(servers) = LogServers::start_with(1, config) else { return };
        run(async {
            let options = alone(&servers);
            let nats = Nats::create(options.clone().credentials(right), 1).await.unwrap();
            nats.append("a", Bytes::from_static(b"x")).await.unwrap();
            for options in [options.clone().credentials(wrong), options] {
                let error = Nats::connect(options).await.err().expect("the wrong credentials");
                assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
                let shown = error.to_string();
                assert!(shown.contains("credentials") && !shown.contains("wrong"), "{shown}");
            }
        });
    }
    let Some(servers) = LogServers::start(1) else { return };
    let missing = NatsCredentials::File("/nowhere/user.creds".into());
    let error = run(Nats::connect(alone(&servers).credentials(missing))).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert!(error.to_string().contains("/nowhere/user.creds"), "{error}");
}

/// An authority, and what it signed for the server and a client, as PEM files.
struct Papers {
    authority: PathBuf,
    server: (PathBuf, PathBuf),
    client: (PathBuf, PathBuf),
}

fn papers(directory: &Path) -> Papers {
    let write = |name: &str, text: &str| {
        let file = directory.join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let pair = |name: &str, subject: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![subject.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        (
            write(&format!("{name}.pem"), &certificate.pem()),
            write(&format!("{name}.key"), &key.serialize_pem()),
        )
    };
    let (server, client) = (pair("server", "127.0.0.1"), pair("client", "graph"));
    Papers { authority: write("authority.pem", &authority.pem()), server, client }
}

#[test]
fn tls_with_an_authority_of_our_own_and_a_certificate_of_the_client() {
    let directory = tempfile::tempdir().unwrap();
    let papers = papers(directory.path());
    let config = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        papers.server.0, papers.server.1, papers.authority
    );
    let Some(servers) = LogServers::start_with(1, &config) else { return };
    run(async {
        let trusting = alone(&servers).root_certificates(&papers.authority);
        let known = trusting.clone().client_certificate(&papers.client.0, &papers.client.1);
        let nats = Nats::create(known, 1).await.unwrap();
        nats.append("a", Bytes::from_static(b"x")).await.unwrap();
        for options in [trusting, alone(&servers)] {
            let error = Nats::connect(options).await.err().expect("it shows no certificate");
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        }
    });
    let Some(servers) = LogServers::start(1) else { return };
    let error = run(Nats::connect(alone(&servers).require_tls(true))).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}
