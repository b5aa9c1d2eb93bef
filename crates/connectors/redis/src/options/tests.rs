use proptest::prelude::*;
use proxystore_core::ErrorKind;

use super::*;

fn at(hostname: &str, port: i64) -> Config {
    Config::new().with("hostname", hostname).with("port", port)
}

#[test]
fn upstreams_options_are_enough() {
    let config = at("localhost", 6379).with("clear", false);
    let options = Options::parse(&config).expect("valid");
    assert_eq!(
        options.servers,
        Servers::One(Address::tcp("localhost", 6379))
    );
    assert!(!options.clear);
    assert_eq!(options.to_config(), at("localhost", 6379));
}

#[test]
fn urls_say_the_same() {
    let url = |text: &str| Options::parse(&Config::new().with("url", text)).expect("valid");
    let config = url("rediss://u:p%40ss@h:7/3").to_config();
    let expected = at("h", 7)
        .with("username", "u")
        .with("password", "p@ss")
        .with("database", 3)
        .with("tls", true);
    assert_eq!(config, expected);
    assert_eq!(url("redis://[::1]").to_config(), at("::1", 6379));
    let unix = url("unix:///run/r.sock?db=2").to_config();
    assert_eq!(
        unix,
        Config::new()
            .with("path", "/run/r.sock")
            .with("database", 2)
    );
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let sentinel = Config::new().with("sentinel", vec![Value::from("s:26379")]);
    for (config, option) in [
        (Config::new(), "hostname"),
        (Config::new().with("hostname", "h"), "port"),
        (at("h", 0), "port"),
        (at("h", 65_536), "port"),
        (at("h", 1).with("url", "redis://h"), "url"),
        (at("h", 1).with("path", "/x"), "path"),
        (Config::new().with("url", "http://h"), "url"),
        (at("h", 1).with("username", "u"), "username"),
        (at("h", 1).with("database", -1), "database"),
        (
            at("h", 1).with("cluster", true).with("database", 1),
            "database",
        ),
        (
            Config::new().with("path", "/x").with("cluster", true),
            "cluster",
        ),
        (sentinel.clone(), "sentinel_master"),
        (
            sentinel
                .clone()
                .with("sentinel_master", "m")
                .with("cluster", true),
            "cluster",
        ),
        (at("h", 1).with("sentinel_master", "m"), "sentinel_master"),
        (at("h", 1).with("certificate_key", "/k"), "certificate"),
        (at("h", 1).with("tls", false).with("authority", "/k"), "tls"),
        (at("h", 1).with("timeout", 0.0), "timeout"),
        (at("h", 1).with("timeout", f64::NAN), "timeout"),
        (at("h", 1).with("ttl", 0.0001), "ttl"),
        (at("h", 1).with("ttl", f64::INFINITY), "ttl"),
        (at("h", 1).with("prefix", "a{}"), "prefix"),
        (at("h", 1).with("part_size", 1000), "part_size"),
    ] {
        let error = Options::parse(&config).expect_err("invalid");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{config:?}");
        assert_eq!(error.context("option"), Some(option), "{error}");
    }
}

#[test]
fn passwords_stand_in_no_text() {
    let config = at("h", 1).with("password", "s3cret");
    let options = Options::parse(&config).expect("valid");
    assert!(!format!("{options:?}").contains("s3cret"));
    let text = "redis://:s3cret@h:port";
    let error = Options::parse(&Config::new().with("url", text)).expect_err("no port");
    assert!(!format!("{error:?}").contains("s3cret"), "{error}");
}

proptest! {
    #[test]
    fn configurations_make_the_round_trip(
        port in 1..65_536_i64,
        clear: bool,
        database in 0..20_i64,
        timeout in 1..10_000_i32,
        ttl in prop::option::of(1..10_000_i32),
        prefix in "[a-z:]{0,9}",
        password in prop::option::of("env:[A-Z]{1,5}|[a-z]{1,9}"),
        tls: bool,
        sentinel: bool,
        part_size in 65_536..i64::MAX,
    ) {
        let mut config = if sentinel {
            let sentinels = vec![Value::from("s:1"), Value::from("[::1]:2")];
            Config::new().with("sentinel", sentinels).with("sentinel_master", "m")
        } else {
            at("host", port)
        };
        config.insert("clear", clear);
        config.insert("database", database);
        config.insert("timeout", f64::from(timeout) / 8.0);
        config.insert("ttl", ttl.map_or(Value::Null, |ttl| Value::Float(f64::from(ttl) / 8.0)));
        config.insert("prefix", prefix);
        config.insert("password", password.map_or(Value::Null, Value::Text));
        config.insert("tls", tls);
        config.insert("part_size", part_size);
        let options = Options::parse(&config)?;
        prop_assert_eq!(Options::parse(&options.to_config())?, options);
    }
}
