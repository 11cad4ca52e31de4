//! What a server shows and accepts: secrets in its configuration, key files, the console.

use crate::served::{Client, KEY, Place, Running, program, query_of, write_secret};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a server that is to refuse its configuration, and returns what it says.
fn refusal(config: &Path) -> String {
    let mut command = Command::new("timeout");
    command.args(["--signal=TERM", "10"]).arg(program().get_program());
    let output = command.args(["serve", "--config"]).arg(config).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        output.status.code(),
        Some(2),
        "{}: {said}",
        std::fs::read_to_string(config).unwrap()
    );
    said
}

#[test]
fn a_secret_in_the_wrong_place_of_the_configuration_is_not_shown() {
    const SECRET: &str = "s3cr3t-of-the-app";
    let place = Place::new();
    let path = place.path().join("server.toml");
    let app = "[[app]]\nsdkappid = 1\ngraph = \"g\"\n";
    let keys = "keys = [{ file = \"key\" }]\n";
    let http = "http = \"127.0.0.1:0\"\n";
    let mut complaints = Vec::new();
    for (text, line, field) in [
        (format!("{http}{app}keys = [\"{SECRET}\"]\n"), 5, "keys"),
        (format!("{http}{app}keys = [\n  {{ file = \"key\" }},\n  \"{SECRET}\",\n]\n"), 7, "keys"),
        (format!("{http}{app}keys = \"{SECRET}\"\n"), 5, "keys"),
        (format!("{http}{app}keys = [{{ \"{SECRET}\" = \"x\" }}]\n"), 5, "keys"),
        (format!("{http}{app}keys = [{{ file = \"key\", env = \"{SECRET}\" }}]\n"), 5, "keys"),
        (format!("{http}{app}keys = [{SECRET}]\n"), 5, ""),
        (format!("{http}{app}keys = [\"{SECRET}]\n"), 5, ""),
        (format!("{http}{app}{keys}key = \"{SECRET}\"\n"), 6, "key"),
        (format!("{http}{app}{keys}max_following = \"{SECRET}\"\n"), 6, "max_following"),
        (format!("{http}{app}{keys}allow = [\"{SECRET}\"]\n"), 6, "allow"),
        (format!("{http}{app}{keys}follow = \"{SECRET}\"\n"), 6, "follow"),
        (format!("{http}app = \"{SECRET}\"\n"), 2, "app"),
        (format!("http = \"{SECRET}\"\n{app}{keys}"), 1, "http"),
        (
            format!(
                "{http}{app}{keys}[app.webhooks]\nurl = \"http://a/\"\n\
                 dead_letter_file = \"d\"\ntoken = \"{SECRET}\"\n"
            ),
            9,
            "token",
        ),
        (format!("{http}[limits]\nbody_bytes = \"{SECRET}\"\n{app}{keys}"), 3, "body_bytes"),
    ] {
        std::fs::write(&path, &text).unwrap();
        let said = refusal(&path);
        let place = format!("server.toml:{line}: ");
        if said.contains("s3cr3t") || !said.contains(&place) || !said.contains(field) {
            complaints.push(format!("{text}\n-> {said}"));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn limits_that_make_no_sense_are_refused_with_their_range() {
    let place = Place::new();
    for (limit, range) in [
        ("body_bytes = 0", "body_bytes is from 256 to 1073741824"),
        ("body_bytes = 2000000000", "body_bytes is from 256 to 1073741824"),
        ("connections = 0", "connections is from 1 to 1000000"),
        ("connections = 2305843009213693952", "connections is from 1 to 1000000"),
        ("idle_seconds = 0.0", "idle_seconds is between 0.001 and a million"),
        ("request_seconds = nan", "request_seconds is between 0.001 and a million"),
    ] {
        let said = refusal(&place.configure(&format!("[limits]\n{limit}"), ""));
        assert!(said.contains(range) && said.contains("server.toml:2: "), "{limit}: {said}");
    }
}

#[test]
fn a_key_file_that_other_users_can_read_is_refused() {
    let place = Place::new().with_certificate();
    let open = |name: &str, mode: u32| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(place.path().join(name), permissions).unwrap();
    };
    let https = "[https]\nlisten = \"127.0.0.1:0\"\ncertificate_file = \"certificate.pem\"\n\
                 key_file = \"key.pem\"\n";
    let config = place.configure(https, "");
    for name in ["key", "key.pem"] {
        open(name, 0o644);
        let said = refusal(&config);
        assert!(said.contains(&format!("/{name} holds a secret and has mode 0644")), "{said}");
        assert!(said.contains("chmod 6"), "{said}");
        open(name, 0o600);
    }
    drop(Running::start(&config));
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_configuration_or_a_key() {
    let place = Place::new();
    write_secret(&place.path().join("key"), &format!("\u{feff}{KEY}\n"));
    let config = place.configure("", "");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("\u{feff}{text}")).unwrap();
    let server = Running::start(&config);
    assert_eq!(server.client().code("account_check", r#"{"CheckItem":[{"UserID":"a"}]}"#), 0);
}

/// Starts a server for development.
fn dev(data: &Path, address: &str) -> Running {
    let mut command = program();
    command.args(["serve", "--dev", "--listen", address, "--data"]).arg(data);
    command.stdout(Stdio::null());
    Running::spawn(command, 1)
}

#[test]
fn a_development_server_signs_in_nobody_on_an_address_that_others_can_reach() {
    let dir = tempfile::tempdir().unwrap();
    let ask = |server: &Running, host: &str| {
        let head = format!("GET /console/dev.json HTTP/1.1\r\nHost: {host}\r\n");
        server.raw(format!("{head}Connection: close\r\n\r\n").as_bytes())
    };
    let server = dev(&dir.path().join("data"), "127.0.0.1:0");
    let answer = ask(&server, "localhost");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("usersig"), "{answer}");
    for host in ["evil.example", "localhost\r\nVia: 1.1 proxy"] {
        let answer = ask(&server, host);
        assert!(answer.starts_with("HTTP/1.1 404 ") && !answer.contains("usersig"), "{answer}");
    }
    drop(server);
    let mut server = dev(&dir.path().join("data"), "0.0.0.0:0");
    server.http.set_ip([127, 0, 0, 1].into());
    let answer = ask(&server, "localhost");
    assert!(answer.starts_with("HTTP/1.1 404 ") && !answer.contains("usersig"), "{answer}");
    assert!(server.log().contains("the console asks for a UserSig"), "{}", server.log());
}

/// Asks for the figures of the console and returns the code.
fn figures(client: &Client) -> u64 {
    let url = format!("{}/console/follower_counts?{}", client.base, client.query);
    let mut answer = client.agent.get(url).call().unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    answer["ErrorCode"].as_u64().unwrap()
}

#[test]
fn figures_of_the_console_pass_the_same_gates_as_commands() {
    let place = Place::new();
    let server = place.start("", "allow = [\"10.0.0.0/8\"]");
    assert_eq!(figures(&server.client()), 60021);
    drop(server);
    let server = place.start("", "calls_per_second = 2");
    let codes: Vec<u64> = (0..20).map(|_| figures(&server.client())).collect();
    assert_eq!(codes[..2], [0, 0]);
    assert!(codes.contains(&60007), "{codes:?}");
    let stranger = Client { query: query_of("administrator", "another"), ..server.client() };
    assert_eq!(figures(&stranger), 70009);
}
