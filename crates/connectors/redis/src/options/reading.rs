//! How options are read.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use proxystore_core::{Result, Value, config::ConfigReader};
use proxystore_stream::{Address, Secret};

use super::{Servers, Tls};

pub(super) fn servers(reader: &ConfigReader<'_>, url: Option<Address>) -> Result<Servers> {
    let hostname = text(reader, "hostname")?;
    let port = reader.optional::<i64>("port")?;
    let path = text(reader, "path")?;
    let sentinels = reader.optional::<Vec<String>>("sentinel")?;
    let cluster = reader.optional("cluster")?.unwrap_or(false);
    if hostname.is_some() && port.is_none() {
        return Err(reader.invalid("port", "is missing beside hostname"));
    }
    let given = [
        ("hostname", hostname.is_some() || port.is_some()),
        ("url", url.is_some()),
        ("path", path.is_some()),
        ("sentinel", sentinels.is_some()),
    ];
    let mut given = given
        .iter()
        .filter(|(_, given)| *given)
        .map(|(name, _)| *name);
    let first = given.next();
    if let (Some(first), Some(second)) = (first, given.next()) {
        return Err(reader.invalid(second, &format!("is given beside {first}")));
    }
    if let Some(sentinels) = sentinels {
        if cluster {
            return Err(reader.invalid("cluster", "is given beside sentinel"));
        }
        return watched(reader, &sentinels);
    }
    for name in ["sentinel_master", "sentinel_username", "sentinel_password"] {
        if text(reader, name)?.is_some() {
            return Err(reader.invalid(name, "is given without sentinel"));
        }
    }
    let address = match (url, path, hostname, port) {
        (Some(address), ..) => address,
        (_, Some(path), ..) => Address::Unix(absolute(reader, "path", &path)?),
        (_, _, Some(host), Some(port)) => match u16::try_from(port) {
            Ok(port) if port > 0 => Address::tcp(host, port),
            _ => return Err(reader.invalid("port", "is no port")),
        },
        _ => return Err(reader.invalid("hostname", "is required")),
    };
    match (cluster, address) {
        (true, Address::Unix(_)) => Err(reader.invalid(
            "cluster",
            "is given with a Unix socket, and a cluster's servers are reached by TCP",
        )),
        (true, address) => Ok(Servers::Cluster(address)),
        (false, address) => Ok(Servers::One(address)),
    }
}

/// The servers that these sentinels watch.
fn watched(reader: &ConfigReader<'_>, sentinels: &[String]) -> Result<Servers> {
    let parsed: Option<Vec<_>> = sentinels.iter().map(|text| host_and_port(text)).collect();
    Ok(Servers::Sentinel {
        sentinels: parsed
            .filter(|sentinels| !sentinels.is_empty())
            .ok_or_else(|| reader.invalid("sentinel", "is no list of host:port"))?,
        master: text(reader, "sentinel_master")?
            .ok_or_else(|| reader.invalid("sentinel_master", "is missing beside sentinel"))?,
        username: text(reader, "sentinel_username")?,
        password: secret(reader, "sentinel_password")?,
    })
}

pub(super) fn tls(reader: &ConfigReader<'_>, url: bool) -> Result<Option<Tls>> {
    let path = |name| match text(reader, name)? {
        None => Ok(None),
        Some(path) => absolute(reader, name, &path).map(Some),
    };
    let files = Tls {
        authority: path("authority")?,
        certificate: path("certificate")?,
        key: path("certificate_key")?,
    };
    if files.certificate.is_some() != files.key.is_some() {
        let problem = "and certificate_key come together, and one of them is missing";
        return Err(reader.invalid("certificate", problem));
    }
    let named = files != Tls::default();
    match reader.optional("tls")? {
        Some(false) if named || url => {
            Err(reader.invalid("tls", "is False, and other options are about TLS"))
        }
        Some(true) => Ok(Some(files)),
        _ if named || url => Ok(Some(files)),
        _ => Ok(None),
    }
}

/// A text that says something.
pub(super) fn text(reader: &ConfigReader<'_>, name: &'static str) -> Result<Option<String>> {
    match reader.optional::<String>(name)? {
        Some(text) if text.contains('\0') => Err(reader.invalid(name, "has a NUL in it")),
        text => Ok(text.filter(|text| !text.is_empty())),
    }
}

pub(super) fn secret(reader: &ConfigReader<'_>, name: &'static str) -> Result<Option<Secret>> {
    Ok(text(reader, name)?.map(|option| Secret::parse(&option)))
}

/// A path that means the same in other working directories.
pub(super) fn absolute(
    reader: &ConfigReader<'_>,
    name: &'static str,
    path: &str,
) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|_| reader.invalid(name, "is no path"))
}

pub(super) fn path_value(path: &Path) -> Value {
    // Lossless: the path was made from a text and a working directory.
    Value::Text(path.to_string_lossy().into_owned())
}

pub(super) fn host_and_port(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then(|| Address::tcp(host, port))
}

pub(super) fn duration(seconds: f64, most: f64) -> Option<Duration> {
    let sensible = seconds > 0.0 && seconds <= most;
    sensible.then(|| Duration::try_from_secs_f64(seconds).ok())?
}
