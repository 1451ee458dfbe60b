//! PostgreSQL that heals itself: three members under Patroni and etcd, each in processes of its own on loopback.
//!
//! Needs the Debian packages `patroni` and `etcd-server`. Every member reaches etcd by a proxy, so that it can be cut off from it alone.

use crate::proxy::{NetworkConditions, Proxy, socket_at};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

/// Where Debian keeps PostgreSQL.
const POSTGRES: &str = "/usr/lib/postgresql/15/bin";
/// How long the members may take until one leads and one follows it synchronously.
const PATIENCE: Duration = Duration::from_secs(150);
/// Patroni's lease of the leader, in seconds: the least that it takes. A member that is lost without a word is noticed
/// when the lease is over.
pub(crate) const LEASE_SECONDS: u32 = 20;
/// How often each member looks at etcd, in seconds.
const LOOP_SECONDS: u32 = 2;
/// How long a member tries to reach etcd before it gives up its lease, in seconds.
const RETRY_SECONDS: u32 = 5;
const PASSWORD: &str = "of-the-tests";

/// A cluster in a directory that goes with it.
pub(crate) struct Patroni {
    directory: tempfile::TempDir,
    etcd: Child,
    _ports: [Port; 2],
    pub(crate) members: Vec<Member>,
}

/// A member: a Patroni and its postgres.
pub(crate) struct Member {
    name: String,
    postgres: Port,
    rest: Port,
    home: PathBuf,
    process: Child,
    etcd: Proxy,
}

/// Who is what, by places among the members.
struct Roles {
    leader: usize,
    /// Who follows it synchronously.
    standby: Option<usize>,
    /// Whether everybody runs.
    all_run: bool,
}

impl Patroni {
    /// Starts three members, and waits until one leads and another follows it synchronously.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        give_to_postgres(directory.path());
        let ports = [Port::reserve(), Port::reserve()];
        let [client, peer] = [ports[0].number, ports[1].number];
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let etcd = unprivileged("etcd")
            .args(["--log-level", "error", "--data-dir"])
            .arg(directory.path().join("etcd"))
            .args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)])
            .args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)])
            .args(["--initial-cluster", &format!("default={}", url(peer))])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // A Patroni that meets an etcd which knows its own version and not yet its cluster's ends at once.
        let began = Instant::now();
        let is_ready = |it: Value| it["etcdcluster"].as_str() != Some("not_decided");
        while !ask(client, "/version").await.is_some_and(is_ready) {
            assert!(began.elapsed() < PATIENCE, "etcd does not start");
            sleep(Duration::from_millis(50)).await;
        }
        let mut members = Vec::new();
        for number in 1..=3 {
            let proxy = Proxy::toward(SocketAddr::from((Ipv4Addr::LOCALHOST, client))).await;
            members.push(Member::start(number, directory.path(), proxy));
        }
        let cluster = Self { directory, etcd, _ports: ports, members };
        cluster.until_whole().await;
        cluster
    }

    /// The address of the database as a store.
    pub(crate) fn store(&self) -> String {
        let ports =
            self.members.iter().map(|member| format!("127.0.0.1:{}", member.postgres.number));
        let hosts = ports.collect::<Vec<_>>().join(",");
        format!("postgres://postgres:{PASSWORD}@{hosts}/postgres")
    }

    /// The places of the leader and of its synchronous standby among the members, once everybody is well.
    pub(crate) async fn until_whole(&self) -> (usize, usize) {
        let began = Instant::now();
        loop {
            if let Some(Roles { leader, standby: Some(standby), all_run: true }) =
                self.roles(None).await
            {
                return (leader, standby);
            }
            assert!(began.elapsed() < PATIENCE, "the cluster is not whole: {}", self.logs());
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// The leader at this moment, as the others see it: who is cut off only knows what was.
    pub(crate) async fn leader_without(&self, member: Option<usize>) -> Option<usize> {
        self.roles(member).await.map(|roles| roles.leader)
    }

    /// Who is what, as any member tells it but for `without`.
    async fn roles(&self, without: Option<usize>) -> Option<Roles> {
        for (_, member) in self.members.iter().enumerate().filter(|it| Some(it.0) != without) {
            let Some(told) = ask(member.rest.number, "/cluster").await else { continue };
            let told = told["members"].as_array()?.clone();
            let with_role = |role: &str| {
                let name = &told.iter().find(|member| member["role"] == role)?["name"];
                self.members.iter().position(|member| *name == *member.name)
            };
            let Some(leader) = with_role("leader") else { continue };
            let runs = |member: &Value| {
                ["running", "streaming"].iter().any(|state| member["state"] == *state)
            };
            let all_run = told.len() == self.members.len() && told.iter().all(runs);
            return Some(Roles { leader, standby: with_role("sync_standby"), all_run });
        }
        None
    }

    /// The ends of the members' logs, for when something does not happen.
    pub(crate) fn logs(&self) -> String {
        let log = |member: &Member| {
            let text = std::fs::read_to_string(member.home.join("log")).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(12).collect();
            format!(
                "\n{}:\n{}",
                member.name,
                lines.into_iter().rev().collect::<Vec<_>>().join("\n")
            )
        };
        self.members.iter().map(log).collect()
    }
}

impl Drop for Patroni {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.kill();
        }
        drop(self.etcd.kill());
        drop(self.etcd.wait());
        drop(std::fs::remove_dir_all(self.directory.path()));
    }
}

impl Member {
    fn start(number: u16, directory: &Path, etcd: Proxy) -> Self {
        let name = format!("member{number}");
        let home = directory.join(&name);
        std::fs::create_dir(&home).unwrap();
        give_to_postgres(&home);
        let [postgres_port, rest_port] = [Port::reserve(), Port::reserve()];
        let [postgres, rest] = [postgres_port.number, rest_port.number];
        let (lease, pause, retry) = (LEASE_SECONDS, LOOP_SECONDS, RETRY_SECONDS);
        let (path, etcd_address) = (home.display(), etcd.address);
        let settings = format!(
            r#"
scope: pelago
name: {name}
restapi: {{listen: "127.0.0.1:{rest}", connect_address: "127.0.0.1:{rest}"}}
# Otherwise it asks etcd for addresses, and passes the proxy by.
etcd3: {{proxy: "http://{etcd_address}"}}
bootstrap:
  dcs:
    ttl: {lease}
    loop_wait: {pause}
    retry_timeout: {retry}
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
      parameters:
        max_connections: 60
        shared_buffers: 16MB
        wal_log_hints: "on"
        # How soon a standby looks for its leader again: until one is there nothing is acknowledged.
        wal_retrieve_retry_interval: 1s
  initdb: [{{encoding: UTF8}}, {{locale: C}}, data-checksums]
  pg_hba:
    - host all all 127.0.0.1/32 scram-sha-256
    - host replication replicator 127.0.0.1/32 scram-sha-256
postgresql:
  listen: 127.0.0.1:{postgres}
  connect_address: 127.0.0.1:{postgres}
  data_dir: {path}/data
  bin_dir: {POSTGRES}
  pgpass: {path}/pgpass
  authentication:
    superuser: {{username: postgres, password: {PASSWORD}}}
    replication: {{username: replicator, password: {PASSWORD}}}
    rewind: {{username: rewinder, password: {PASSWORD}}}
  parameters: {{unix_socket_directories: "{path}"}}
watchdog: {{mode: "off"}}
"#
        );
        std::fs::write(home.join("patroni.yml"), settings).unwrap();
        let process = run(&home);
        Self { name, postgres: postgres_port, rest: rest_port, home, process, etcd }
    }

    /// Kills its postgres, and nothing else.
    pub(crate) fn kill_postgres(&self) {
        let data = self.home.join("data");
        let file = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        let number = file.lines().next().unwrap_or_default();
        // The file outlives its postgres, and the number may be somebody else's by now.
        let command = std::fs::read_to_string(format!("/proc/{number}/cmdline"));
        if command.is_ok_and(|command| command.contains(&*data.to_string_lossy())) {
            drop(Command::new("kill").args(["-s", "KILL", number]).status());
        }
    }

    /// Kills everything of it.
    pub(crate) fn kill(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        self.kill_postgres();
    }

    /// Sends a signal to its Patroni, and to nobody else.
    pub(crate) fn signal(&self, name: &str) {
        let number = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &number]).status().unwrap().success());
    }

    /// Starts it again.
    pub(crate) fn revive(&mut self) {
        self.process = run(&self.home);
    }

    /// What becomes of everything that it sends to etcd, and etcd to it.
    pub(crate) fn way_to_etcd(&self, conditions: NetworkConditions) {
        self.etcd.set(conditions);
    }
}

/// What an HTTP server of a cluster says; `None` if it says nothing.
async fn ask(port: u16, path: &str) -> Option<Value> {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    };
    timeout(Duration::from_secs(1), ask).await.ok()?
}

/// A member's Patroni, which runs its postgres.
fn run(home: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(home.join("log")).unwrap();
    unprivileged("patroni")
        .arg(home.join("patroni.yml"))
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n")
}

/// A program that does not run as root, which postgres refuses.
fn unprivileged(program: &str) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", program]);
    command
}

fn give_to_postgres(directory: &Path) {
    if is_root() {
        let given = Command::new("chown").arg("postgres:postgres").arg(directory).status();
        assert!(given.unwrap().success());
    }
}

/// A port on loopback. Nobody else is given it while nobody listens there.
struct Port {
    number: u16,
    _reservation: TcpSocket,
}

impl Port {
    fn reserve() -> Self {
        let reservation = socket_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        Self { number: reservation.local_addr().unwrap().port(), _reservation: reservation }
    }
}
