use super::*;

mod labels;
mod values;
mod views;
mod watches;

const EXAMPLE: &str = include_str!("../../../config.example.toml");

fn parse(text: &str) -> Result<Config, Error> {
    Config::parse(text, Path::new("x.toml"))
}

fn file(text: &str) -> File {
    File {
        path: "x.toml".into(),
        text: text.to_owned(),
    }
}

/// Parses a file and looks up its hosts and users.
fn load(text: &str) -> Result<(Listen, Resolved), Error> {
    let config = parse(text)?;
    let listen = config.resolve_listen();
    let resolved = listen.and_then(|listen| Ok((listen, config.resolve()?)));
    resolved.map_err(|fault| file(text).locate(&fault))
}

#[track_caller]
fn refused(text: &str) -> String {
    load(text).unwrap_err().to_string()
}

#[test]
fn hosts_and_users_are_looked_up_after_parsing() {
    let host = "[web]\n\nlisten = [\"127.0.0.1:1\", \"no-such-host.invalid:1\"]\n";
    let user = "[[view]]\nlabels = [\"comm\"]\n\n[[view]]\nlabels = [\"user\"]\n\
                always = [\"root\", \"nobody-of-that-name\"]\n";
    for text in [host, user] {
        parse(text).unwrap();
        assert!(!load(text).unwrap_err().is_final(), "{text}");
    }
    let message = refused(host);
    assert!(
        message.starts_with(
            "x.toml:3: web.listen: cannot resolve \"no-such-host.invalid:1\": failed to lookup \
             address information: "
        ),
        "{message}"
    );
    assert_eq!(
        refused(user),
        "x.toml:6: view.1.always: \"nobody-of-that-name\" is neither a uid nor the name of a user"
    );
}

#[test]
fn malformed_addresses_and_names_are_refused_without_a_look_up() {
    for text in [
        "web.listen = [\"10190\"]",
        "web.listen = [\"localhost:x\"]",
        "web.listen = [\":65536\"]",
        "web.listen = [\"unix:web.sock\"]",
        "[[view]]\nlabels = [\"comm\"]\nalways = [\"sixteen-bytes-ab\"]",
        "[[view]]\nlabels = [\"comm\", \"uid\"]\nalways = [\"root\"]",
        "[[view]]\nlabels = [\"uid\"]\nalways = [\"4294967295\"]",
        "run_as = \"\"",
    ] {
        assert!(parse(text).unwrap_err().is_final(), "{text}");
    }
}

#[test]
fn resolving_keeps_the_values_of_the_file() {
    let (listen, resolved) = load(
        "web.listen = [\"127.0.0.1:1\", \"unix:/run/x\"]\n\
         web.probe_listen = [\"127.0.0.1:2\"]\n[[view]]\nlabels = [\"uid\"]\n\
         max_series = 7\nalways = [\"0\"]\n",
    )
    .unwrap();
    let tcp = Address::Tcp("127.0.0.1:1".parse().unwrap());
    assert_eq!(listen.web, [tcp, Address::Unix("/run/x".into())]);
    let probes = Address::Tcp("127.0.0.1:2".parse().unwrap());
    assert_eq!(listen.probes, [probes]);
    let views: Vec<_> = resolved.views.iter().map(View::counts).collect();
    assert_eq!(views.len(), 1);
    assert_eq!(
        (&views[0].labels[..], views[0].max_series),
        (&[Label::Uid][..], 7)
    );
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(parse("").unwrap(), Config::default());
}

#[test]
fn the_example_file_has_the_defaults_and_two_watches() {
    let example = parse(EXAMPLE).unwrap();
    let names: Vec<_> = example.watch.iter().map(|watch| &watch.name).collect();
    assert_eq!(names, ["service-user-shell", "network-tool"]);
    let without_watches = Config {
        watch: Vec::new(),
        ..example
    };
    assert_eq!(without_watches, Config::default());
}

#[test]
fn the_example_file_has_every_key_with_a_comment() {
    fn keys(table: &toml::Table, found: &mut Vec<String>) {
        for (key, value) in table {
            match value {
                toml::Value::Table(table) => keys(table, found),
                toml::Value::Array(items) if items.iter().all(toml::Value::is_table) => {
                    items
                        .iter()
                        .filter_map(|item| item.as_table())
                        .for_each(|t| keys(t, found));
                }
                _ => found.push(key.clone()),
            }
        }
    }
    let mut found = Vec::new();
    keys(
        &toml::Table::try_from(Config::default()).unwrap(),
        &mut found,
    );
    assert!(found.len() >= 8, "{found:?}");
    for key in found {
        let line = EXAMPLE
            .lines()
            .find(|line| line.starts_with(&format!("{key} = ")))
            .unwrap_or_else(|| panic!("{key} is not in config.example.toml"));
        assert!(line.contains(" # "), "{key} has no comment: {line}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_file_line_and_the_nearest_key() {
    assert_eq!(
        refused("[log]\n\n[capture]\nbufer_pages = 8\n"),
        "x.toml:4: unknown key `capture.bufer_pages`; did you mean `buffer_pages`?"
    );
    assert_eq!(
        refused("[captures]\n"),
        "x.toml:1: unknown key `captures`; did you mean `capture`?"
    );
    assert_eq!(
        refused("[[view]]\nlabels = [\"comm\"]\nmax_serie = 3\n"),
        "x.toml:3: unknown key `view.max_serie`; did you mean `max_series`?"
    );
    assert_eq!(
        refused("[web]\nzzz = 1\n"),
        "x.toml:2: unknown key `web.zzz`"
    );
    assert_eq!(refused("a = 1\n"), "x.toml:1: unknown key `a`");
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_its_line() {
    let message = refused("[capture]\nbuffer_pages = \"many\"\n");
    assert!(message.starts_with("x.toml:2: "), "{message}");
    let message = refused("[web\n");
    assert!(message.starts_with("x.toml:1: "), "{message}");
    let message = refused("[[view]]\nlabels = [\"com\"]\n");
    assert!(message.starts_with("x.toml:2: "), "{message}");
    assert!(message.contains("`comm`"), "{message}");
}

#[test]
fn a_missing_key_is_reported_with_the_line_of_its_table() {
    assert_eq!(
        refused("\n[[view]]\nmax_series = 3\n"),
        "x.toml:2: view: missing field `labels`"
    );
}

#[test]
fn an_error_at_the_end_is_on_the_last_line() {
    for (text, line) in [
        ("a = \"\"\"\n", 1),
        ("x = '''\n\n", 2),
        ("[web]\nlisten = [\n", 2),
        ("[", 1),
    ] {
        let message = refused(text);
        assert!(
            message.starts_with(&format!("x.toml:{line}: ")),
            "{message}"
        );
    }
}

#[test]
fn a_web_configuration_is_relative_to_the_file_that_names_it() {
    let config = Config::parse(
        "[web]\nconfig_file = \"web.yml\"",
        Path::new("/etc/execsnoopd/config.toml"),
    );
    let file = config.unwrap().web.config_file;
    assert_eq!(file, Path::new("/etc/execsnoopd/web.yml"));
    let config = Config::parse("[web]\nconfig_file = \"/x/web.yml\"", Path::new("/etc/a"));
    assert_eq!(config.unwrap().web.config_file, Path::new("/x/web.yml"));
}
