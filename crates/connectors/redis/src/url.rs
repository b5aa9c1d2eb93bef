//! URLs of servers.

use std::path::PathBuf;

use proxystore_stream::{Address, Secret};
use redis::{ConnectionAddr, IntoConnectionInfo};

/// What a URL says.
#[derive(Debug, Default)]
pub(crate) struct Location {
    pub(crate) address: Option<Address>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: u32,
    pub(crate) tls: bool,
}

impl Location {
    /// Parses `redis://`, `rediss://` and `unix://`, or says what is wrong with it, which continues
    /// 'the option url' and repeats nothing, as there may be a password in it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let form = "is no URL like redis://user:password@host:port/database or \
                    unix:///path?db=database";
        let mut url = redis::parse_redis_url(text).ok_or(form)?;
        let tls = matches!(url.scheme(), "rediss" | "valkeys");
        // The library parses the other form only if it is built with a TLS of its own.
        if tls && url.set_scheme("redis").is_err() {
            return Err(form.to_owned());
        }
        let unix = url.scheme().ends_with("unix");
        let known: &[&str] = if unix { &["db", "user", "pass"] } else { &[] };
        if let Some((name, _)) = url
            .query_pairs()
            .find(|(name, _)| !known.contains(&&**name))
        {
            let name = name.escape_debug();
            return Err(format!("has a parameter '{name}', which is not known"));
        }
        if url.fragment().is_some() {
            return Err("has a fragment, which means nothing here".to_owned());
        }
        let info = url.into_connection_info();
        let info = info.map_err(|error| format!("cannot be used: {}", error.category()))?;
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Address::tcp(host.as_str(), *port),
            ConnectionAddr::Unix(path) => Address::Unix(PathBuf::from(path)),
            _ => return Err(form.to_owned()),
        };
        let settings = info.redis_settings();
        let database = u32::try_from(settings.db());
        Ok(Self {
            address: Some(address),
            username: settings.username().map(str::to_owned),
            password: settings.password().map(Secret::parse),
            database: database.map_err(|_| "names no database".to_owned())?,
            tls,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in [
            "",
            "localhost:6379",
            "http://localhost",
            "redis://",
            "redis://h/x",
            "redis://h/-1",
            "redis://h?db=2",
            "rediss://h#insecure",
            "unix://?db=1",
            "unix:///run/r.sock?password=x",
            "redis://0.0.0.0",
        ] {
            let found = Location::parse(text);
            assert!(found.is_err(), "{text}: {found:?}");
        }
    }

    #[test]
    fn a_password_may_name_where_it_is() {
        let found = Location::parse("redis://:env%3AREDIS_PASSWORD@h").expect("a URL");
        let password = found.password.expect("a password");
        assert_eq!(password.reference().as_deref(), Some("env:REDIS_PASSWORD"));
        assert_eq!(found.username, None);
    }
}
