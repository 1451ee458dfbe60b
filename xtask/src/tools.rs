//! What the tests need beside Rust: Debian packages, Node.js, cargo tools.

use crate::run::{cargo_program, command, root, run};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Debian packages, each with a file that shows that it is there.
const PACKAGES: [(&str, &str); 12] = [
    ("chromium", "/usr/bin/chromium"),
    ("e2fsprogs", "/sbin/mkfs.ext4"),
    ("etcd-server", "/usr/bin/etcd"),
    ("fonts-dejavu-core", "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"),
    ("libfaketime", "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"),
    // For connections that are no HTTP.
    ("libnginx-mod-stream", "/usr/lib/nginx/modules/ngx_stream_module.so"),
    ("nginx", "/usr/sbin/nginx"),
    ("patroni", "/usr/bin/patroni"),
    ("postgresql-15", "/usr/lib/postgresql/15/bin/postgres"),
    ("python3", "/usr/bin/python3"),
    // Patroni's way to etcd. Another store's library would do for its package.
    ("python3-etcd", "/usr/lib/python3/dist-packages/etcd/__init__.py"),
    // Kills a server at each of its system calls.
    ("strace", "/usr/bin/strace"),
];
/// Packages that would start a service as soon as they are installed and whenever the machine starts. Tests have
/// servers of their own: none has to run beside them.
const SERVICES: [(&str, &str); 3] =
    [("etcd-server", "etcd"), ("nginx", "nginx"), ("patroni", "patroni")];
/// What Debian asks before it starts a service that was just installed; 101 forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// What Debian reads before it installs a PostgreSQL server: whether to create a cluster and start it.
const CLUSTERS: &str = "/etc/postgresql-common/createcluster.conf";
/// The oldest Node.js that the page is built with.
const NODE_MAJOR: u32 = 20;

/// A cargo tool, pinned.
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
    /// The arguments after which it prints its version.
    ask: &'static [&'static str],
    features: &'static [&'static str],
}

const TOOLS: [Tool; 3] = [
    Tool {
        name: "cargo-nextest",
        version: "0.9.143",
        ask: &["nextest", "--version"],
        features: &["--no-default-features", "--features", "default-no-update"],
    },
    Tool {
        name: "cargo-deny",
        version: "0.20.2",
        ask: &["--version"],
        features: &["--no-default-features"],
    },
    Tool { name: "cargo-machete", version: "0.9.2", ask: &["--version"], features: &[] },
];

/// Only for `cargo xtask fuzz`.
pub(crate) const CARGO_FUZZ: Tool =
    Tool { name: "cargo-fuzz", version: "0.13.2", ask: &["--version"], features: &[] };

/// Installs what is missing.
pub(crate) fn install() -> Result<()> {
    install_packages()?;
    check_node()?;
    for tool in &TOOLS {
        install_tool(tool)?;
    }
    Ok(())
}

fn install_packages() -> Result<()> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(_, proof)| !Path::new(proof).exists())
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing Debian packages: {}", missing.join(" "));
    let apt_get = |arguments: &[&str]| {
        let mut command = privileged("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        run(command)
    };
    if missing.contains(&"postgresql-15") && !Path::new(CLUSTERS).exists() {
        privileged_script(&format!(
            "mkdir -p $(dirname {CLUSTERS}) && echo create_main_cluster=false > {CLUSTERS}"
        ))?;
    }
    apt_get(&["update", "-qq"]).context("apt-get is needed to install what the tests need")?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(&missing);
    without_services(&missing, || apt_get(&install))
}

/// Installs packages so that none of their services runs, now or after the machine has started again.
fn without_services(packages: &[&str], install: impl FnOnce() -> Result<()>) -> Result<()> {
    let services = SERVICES.iter().filter(|(package, _)| packages.contains(package));
    let services: Vec<&str> = services.map(|(_, service)| *service).collect();
    if services.is_empty() {
        return install();
    }
    // A policy that is there already is the administrator's.
    let is_ours = !Path::new(POLICY).exists();
    if is_ours {
        privileged_script(&format!(
            "printf '#!/bin/sh\nexit 101\n' > {POLICY} && chmod 755 {POLICY}"
        ))?;
    }
    let installed = install();
    if is_ours {
        privileged_script(&format!("rm {POLICY}"))?;
    }
    installed?;
    for service in services {
        privileged_script(&format!("update-rc.d {service} disable"))?;
    }
    Ok(())
}

fn privileged_script(script: &str) -> Result<()> {
    let mut shell = privileged("sh");
    shell.args(["-c", script]);
    run(shell)
}

/// A command of root's. Root needs no sudo, and may not have it.
fn privileged(program: &str) -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let mut command = Command::new(if is_root { program } else { "sudo" });
    if !is_root {
        command.arg(program);
    }
    command
}

/// Node.js is there and new enough.
pub(crate) fn check_node() -> Result<()> {
    let output = Command::new("node").arg("--version").output();
    let version = match &output {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(_) => bail!("Node.js {NODE_MAJOR} or newer is needed to build the page"),
    };
    let major = version.trim_start_matches('v').split('.').next().and_then(|it| it.parse().ok());
    if major.is_none_or(|major: u32| major < NODE_MAJOR) {
        bail!("Node.js {NODE_MAJOR} or newer is needed to build the page, {version} is installed");
    }
    Ok(())
}

/// Where cargo tools are kept: with what is built.
fn tools_root() -> PathBuf {
    root().join("target/tools")
}

/// The program of a cargo tool: the one on the path if it has the right version, otherwise our own.
pub(crate) fn tool(name: &str) -> PathBuf {
    let own = tools_root().join("bin").join(name);
    if own.exists() { own } else { PathBuf::from(name) }
}

/// Installs a tool if it is missing.
pub(crate) fn install_tool(tool: &Tool) -> Result<()> {
    let own = tools_root().join("bin").join(tool.name);
    let has_version = |program: &Path| {
        let output = Command::new(program).args(tool.ask).stderr(Stdio::null()).output();
        output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(tool.version))
    };
    if has_version(&own) || has_version(Path::new(tool.name)) {
        return Ok(());
    }
    println!("installing {} {}", tool.name, tool.version);
    let version = format!("={}", tool.version);
    let root = tools_root();
    let mut arguments =
        vec!["install", tool.name, "--version", &version, "--locked", "--force", "--debug"];
    arguments.extend(tool.features);
    let mut command = command(&cargo_program(), &arguments);
    // A tool that runs for seconds is not worth minutes of optimisation.
    command
        .arg("--root")
        .arg(&root)
        .env("CARGO_TARGET_DIR", root.join("build"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "0")
        .env("CARGO_INCREMENTAL", "0");
    run(command)
}
