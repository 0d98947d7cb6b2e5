//! A real Galera cluster: three MariaDB nodes on loopback, in a temporary directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread::sleep;
use std::time::Duration;

use mysql::Conn;
use mysql::OptsBuilder;
use mysql::prelude::Queryable;

use super::exim::free_port;
use super::mariadb;

const NODES: usize = 3;

/// The ports of a node: for clients, for the group, and for incremental and full state transfers.
#[derive(Clone, Copy)]
struct Ports {
    sql: u16,
    group: u16,
    increments: u16,
    snapshots: u16,
}

struct Node {
    ports: Ports,
    server: Mutex<Option<Child>>,
}

/// Three nodes, killed when dropped.
pub struct Cluster {
    directory: tempfile::TempDir,
    nodes: Vec<Node>,
}

impl Cluster {
    /// Starts the nodes, one after the other.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let nodes = (0..NODES).map(|_| Node {
            ports: Ports {
                sql: free_port(),
                group: free_port(),
                increments: free_port(),
                snapshots: free_port(),
            },
            server: Mutex::new(None),
        });
        let cluster = Self { directory, nodes: nodes.collect() };
        for node in 0..NODES {
            fs::create_dir(cluster.path(node)).unwrap();
            mariadb::install(&cluster.path(node));
            // If the node ran as root, rsync would write the received files as the user nobody.
            let mut chown = Command::new("chown");
            chown.args(["-R", "mysql:"]).arg(cluster.path(node));
            assert!(chown.status().unwrap().success(), "user mysql: install mariadb-server");
        }
        cluster.serve(0, &["--wsrep-new-cluster"]);
        cluster.wait(0);
        let password = mariadb::PASSWORD;
        let mut root = cluster.root(0, "");
        for sql in [
            &*format!("CREATE USER exim@localhost IDENTIFIED BY '{password}'"),
            "GRANT ALL ON *.* TO exim@localhost",
            "CREATE DATABASE mail CHARACTER SET utf8mb4",
        ] {
            root.query_drop(sql).unwrap();
        }
        for node in 1..NODES {
            cluster.serve(node, &[]);
            cluster.wait(node);
        }
        cluster
    }

    fn path(&self, node: usize) -> PathBuf {
        self.directory.path().join(format!("node{node}"))
    }

    fn serve(&self, node: usize, arguments: &[&str]) {
        let directory = self.path(node);
        let Ports { sql, group, increments, snapshots } = self.nodes[node].ports;
        let all: Vec<_> =
            self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.ports.group)).collect();
        let provider = format!(
            "base_host=127.0.0.1;base_port={group};gmcast.listen_addr=tcp://127.0.0.1:{group};\
             ist.recv_addr=127.0.0.1:{increments};gcache.size=32M;evs.keepalive_period=PT0.5S;\
             evs.suspect_timeout=PT2S;evs.inactive_timeout=PT4S;evs.install_timeout=PT4S"
        );
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(directory.join("error.log"))
            .unwrap();
        let child = Command::new("mariadbd")
            .args(["--no-defaults", "--user=mysql", "--bind-address=127.0.0.1"])
            .args(["--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=2"])
            .args(["--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON"])
            .args(["--wsrep-provider=/usr/lib/galera/libgalera_smm.so", "--wsrep-sst-method=rsync"])
            .arg(format!("--wsrep-cluster-address=gcomm://{}", all.join(",")))
            .arg(format!("--wsrep-node-address=127.0.0.1:{group}"))
            .arg(format!("--wsrep-sst-receive-address=127.0.0.1:{snapshots}"))
            .arg(format!("--wsrep-provider-options={provider}"))
            .arg(format!("--wsrep-node-name=node{node}"))
            .arg(format!("--datadir={}", directory.join("data").display()))
            .arg(format!("--tmpdir={}", directory.display()))
            .arg(format!("--socket={}", directory.join("sock").display()))
            .arg(format!("--pid-file={}", directory.join("pid").display()))
            .arg(format!("--port={sql}"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("mariadbd: install mariadb-server");
        *self.child(node) = Some(child);
    }

    fn child(&self, node: usize) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.nodes[node].server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn options(&self, node: usize, database: &str) -> OptsBuilder {
        OptsBuilder::new()
            .user(Some("root"))
            .socket(Some(self.path(node).join("sock").display().to_string()))
            .db_name((!database.is_empty()).then(|| database.to_owned()))
    }

    /// Waits until a node reports that it is synchronized with the others.
    pub fn wait(&self, node: usize) {
        const STATE: &str = "SHOW STATUS LIKE 'wsrep_local_state_comment'";
        for _ in 0..1200 {
            let state = Conn::new(self.options(node, ""))
                .ok()
                .and_then(|mut root| root.query_first::<(String, String), _>(STATE).ok().flatten());
            if state.is_some_and(|(_, state)| state == "Synced") {
                return;
            }
            let has_ended = self
                .child(node)
                .as_mut()
                .is_some_and(|server| server.try_wait().is_ok_and(|status| status.is_some()));
            if has_ended {
                break;
            }
            sleep(Duration::from_millis(100));
        }
        panic!("node {node} does not join: {}", self.errors());
    }

    /// The lines about errors and state transfers in the logs of all nodes.
    fn errors(&self) -> String {
        let logs = self
            .nodes()
            .map(|node| fs::read_to_string(self.path(node).join("error.log")).unwrap_or_default());
        let all = logs.collect::<Vec<_>>().join("\nnext node\n");
        let errors = all.lines().filter(|line| {
            ["ERROR", "SST", "rsync", "next node"].iter().any(|word| line.contains(word))
        });
        errors.collect::<Vec<_>>().join("\n")
    }

    /// A connection as root for the test itself. It sees all that any node has committed.
    pub fn root(&self, node: usize, database: &str) -> Conn {
        let mut root = Conn::new(self.options(node, database)).unwrap();
        root.query_drop("SET SESSION wsrep_sync_wait = 15").unwrap();
        root
    }

    /// The URL of a node, over TCP.
    pub fn url(&self, node: usize) -> String {
        let port = self.nodes[node].ports.sql;
        format!("mysql://exim:{}@127.0.0.1:{port}/mail", mariadb::ENCODED)
    }

    /// Kills a node with SIGKILL.
    pub fn kill(&self, node: usize) {
        if let Some(mut server) = self.child(node).take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Starts a node again, and waits until it has joined the others.
    pub fn restart(&self, node: usize) {
        self.serve(node, &[]);
        self.wait(node);
    }

    /// Cuts a node off from the others, and waits until it has noticed; or connects it again.
    pub fn isolate(&self, node: usize, is_alone: bool) {
        let mut root = Conn::new(self.options(node, "")).unwrap();
        let flag = u8::from(is_alone);
        let sql = format!("SET GLOBAL wsrep_provider_options = 'gmcast.isolate={flag}'");
        root.query_drop(sql).unwrap();
        for _ in 0..600 {
            let status: Option<(String, String)> =
                root.query_first("SHOW STATUS LIKE 'wsrep_ready'").unwrap();
            if !is_alone || status.is_some_and(|(_, ready)| ready == "OFF") {
                return;
            }
            sleep(Duration::from_millis(100));
        }
        panic!("node {node} does not notice that it is cut off");
    }

    /// Sends a signal to a node, by the signal's name.
    pub fn signal(&self, node: usize, name: &str) {
        let pid = self.child(node).as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// The numbers of all nodes.
    pub fn nodes(&self) -> std::ops::Range<usize> {
        0..self.nodes.len()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 0..self.nodes.len() {
            self.kill(node);
        }
    }
}
