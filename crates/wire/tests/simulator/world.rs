//! Everything together: who acts next, and what goes wrong.

mod setup;
mod verdict;

use std::{collections::VecDeque, time::Duration};

use proxystore_wire::{Limits, handshake::Authentication};

use crate::{
    client::ClientConnection,
    hostile::Attacker,
    node::NodeConnection,
    outcome::{Plan, Shared},
    pipe::Pipe,
    random::Random,
    storage::Storage,
    tally::Tally,
};

/// What goes wrong, apart from everything being slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Nothing,
    Cuts,
    Flips,
    Jumps,
    Drains,
    Attacks,
    Everything,
}

/// A connection and both its ends.
struct Line {
    client: ClientConnection,
    node: NodeConnection,
    up: Pipe,
    down: Pipe,
    /// Whether the client uses it for bulk.
    is_bulk: bool,
    owner: usize,
}

/// A stranger's connection.
struct Attack {
    attacker: Attacker,
    node: NodeConnection,
    up: Pipe,
    down: Pipe,
}

/// A client, apart from its connections.
struct Client {
    plans: VecDeque<Plan>,
    limits: Limits,
    /// How many connections may still go wrong.
    troubles: usize,
}

pub(crate) struct World {
    random: Random,
    trouble: Trouble,
    /// Whether nothing goes wrong any more.
    is_calm: bool,
    storage: Storage,
    node_limits: Limits,
    authentication: Authentication<'static>,
    clients: Vec<Client>,
    lines: Vec<Line>,
    attacks: Vec<Attack>,
    /// Connections whose client has gone.
    orphans: Vec<(NodeConnection, Pipe)>,
    shared: Shared,
    /// Where the first connection is cut: whether on the way up, and after how many bytes.
    cut: Option<(bool, usize)>,
    /// Whether each client does everything on one connection.
    is_straight: bool,
}

impl World {
    /// Runs to the end and says how many bytes went up and down the first connection.
    pub(crate) fn run_straight(mut self) -> (usize, usize) {
        self.is_calm = true;
        self.calm_down();
        self.check_the_end();
        self.lines
            .first()
            .map_or((0, 0), |line| (line.up.passed, line.down.passed))
    }

    pub(crate) fn run(mut self) -> Tally {
        for _ in 0..self.random.between(100, 1500) {
            self.step();
        }
        self.is_calm = true;
        for mut attack in self.attacks.drain(..) {
            attack.node.lose(&mut self.storage);
        }
        self.calm_down();
        self.check_the_end();
        self.shared.tally
    }

    fn has(&self, trouble: Trouble) -> bool {
        !self.is_calm && (self.trouble == trouble || self.trouble == Trouble::Everything)
    }

    /// Somebody does something.
    fn step(&mut self) {
        self.shared.step += 1;
        let passed = self.random.below(200) as u64;
        self.shared.now += Duration::from_micros(passed);
        if self.has(Trouble::Jumps) && self.random.once_in(100) {
            let seconds = [1, 6, 20, 100_000][self.random.below(4)];
            self.shared.now += Duration::from_secs(seconds);
        }
        if self.has(Trouble::Attacks) && self.attacks.len() < 3 && self.random.once_in(50) {
            self.attack();
        }
        let client = self.random.below(self.clients.len());
        match self.random.below(12) {
            0 | 1 => {
                self.begin_next(client);
            }
            2 if self.random.once_in(8) => self.cancel_one(),
            3 if self.has(Trouble::Drains) && self.random.once_in(30) => {
                if !self.lines.is_empty() {
                    let index = self.random.below(self.lines.len());
                    self.lines[index].node.drain();
                }
            }
            _ => {
                if !self.lines.is_empty() {
                    let index = self.random.below(self.lines.len());
                    let act = self.random.below(6);
                    self.act(index, act);
                }
            }
        }
        if !self.orphans.is_empty() {
            let index = self.random.below(self.orphans.len());
            self.act_orphan(index);
        }
        if !self.attacks.is_empty() {
            let index = self.random.below(self.attacks.len());
            self.act_attack(index);
        }
        self.bury();
    }

    /// Everybody does everything, until nobody has anything left to do.
    fn calm_down(&mut self) {
        let mut quiet = 0;
        for _ in 0..100_000 {
            self.shared.step += 1;
            let mut any = false;
            for client in 0..self.clients.len() {
                any |= self.begin_next(client);
            }
            for index in 0..self.lines.len() {
                for act in 0..6 {
                    any |= self.act(index, act);
                }
            }
            for index in (0..self.orphans.len()).rev() {
                any |= self.act_orphan(index);
            }
            any |= self.bury();
            quiet = if any { 0 } else { quiet + 1 };
            // Some do not use every opportunity.
            if quiet < 30 {
                self.shared.now += Duration::from_micros(50);
                continue;
            }
            let is_over = self.clients.iter().all(|client| client.plans.is_empty())
                && self.lines.iter().all(|line| line.client.is_done())
                && self.orphans.is_empty();
            if is_over {
                return;
            }
            let ends = self
                .lines
                .iter()
                .flat_map(|line| [line.client.next_timeout(), line.node.next_timeout()]);
            let next = ends.flatten().min().expect("an operation never ends");
            assert!(next > self.shared.now, "a timeout that was not answered");
            self.shared.now = next;
        }
        panic!("operations take for ever");
    }

    fn begin_next(&mut self, index: usize) -> bool {
        let Some(plan) = self.clients[index].plans.pop_front() else {
            return false;
        };
        let wants_bulk = match &plan {
            _ if self.is_straight => false,
            Plan::Put { object, .. } => self.shared.objects[*object].content.len() > 1000,
            Plan::Set { cell, version } => self.shared.cells[*cell].versions[*version].len() > 1000,
            Plan::Get { whole, .. } | Plan::Read { whole, .. } => *whole,
            _ => false,
        };
        let line = self.lines.iter_mut().find(|line| {
            line.owner == index && line.is_bulk == wants_bulk && line.client.is_usable()
        });
        let Some(line) = line else {
            self.clients[index].plans.push_front(plan);
            self.connect(index, wants_bulk);
            return true;
        };
        if self.is_straight && !line.client.is_done() {
            self.clients[index].plans.push_front(plan);
            return false;
        }
        match line.client.begin(plan, &mut self.shared) {
            Ok(()) => true,
            Err(plan) => {
                self.clients[index].plans.push_front(plan);
                false
            }
        }
    }

    fn connect(&mut self, owner: usize, is_bulk: bool) {
        let random = &mut self.random;
        let capacity = if random.once_in(3) {
            random.between(1, 300)
        } else {
            100_000
        };
        let (mut up, mut down) = (Pipe::new(capacity), Pipe::new(capacity));
        if self.clients[owner].troubles > 0 && !self.is_calm {
            let after = random.below([300, 3000, 30_000][random.clone().below(3)]);
            let pipe = if random.once_in(2) {
                &mut up
            } else {
                &mut down
            };
            let cuts = matches!(self.trouble, Trouble::Cuts | Trouble::Everything);
            if cuts {
                pipe.cut_after(after);
                self.clients[owner].troubles -= 1;
            } else if self.trouble == Trouble::Flips {
                pipe.flip_after(after);
                self.clients[owner].troubles -= 1;
            }
        }
        if let Some((is_up, after)) = self.cut.take() {
            let pipe = if is_up { &mut up } else { &mut down };
            pipe.cut_after(after);
        }
        let limits = self.clients[owner].limits;
        let authentication = &self.authentication;
        self.lines.push(Line {
            client: ClientConnection::new(limits, authentication, random.bytes()),
            node: NodeConnection::new(self.node_limits, authentication, random.bytes()),
            up,
            down,
            is_bulk,
            owner,
        });
    }

    fn attack(&mut self) {
        let random = &mut self.random;
        self.attacks.push(Attack {
            attacker: Attacker::new(&self.authentication, random),
            node: NodeConnection::new(self.node_limits, &self.authentication, random.bytes()),
            up: Pipe::new(20_000),
            down: Pipe::new(random.between(1, 20_000)),
        });
    }

    fn cancel_one(&mut self) {
        if !self.lines.is_empty() {
            let index = self.random.below(self.lines.len());
            self.lines[index]
                .client
                .cancel(&mut self.shared, &mut self.random);
        }
    }

    fn act(&mut self, index: usize, act: usize) -> bool {
        let Line {
            client,
            node,
            up,
            down,
            owner,
            ..
        } = &mut self.lines[index];
        let (shared, random) = (&mut self.shared, &mut self.random);
        if up.is_closed || down.is_closed {
            (up.is_closed, down.is_closed) = (true, true);
        }
        let now = shared.now;
        match act {
            0 if !client.is_lost => client.write(up, shared, random),
            1 if !node.is_lost => {
                let any = node.read(up, &mut self.storage, now, random);
                node.check_bounds();
                any
            }
            2 if !node.is_lost => node.work(&mut self.storage, now, random),
            3 if !node.is_lost => node.write(down, now, random),
            4 if !client.is_lost => {
                let again = &mut self.clients[*owner].plans;
                client.read(down, shared, again, random)
            }
            5 => {
                if !client.is_lost && down.len() == 0 {
                    client.handle_timeout(now);
                }
                if !node.is_lost && up.len() == 0 {
                    node.handle_timeout(&mut self.storage, now);
                }
                false
            }
            _ => false,
        }
    }

    fn act_orphan(&mut self, index: usize) -> bool {
        let (node, up) = &mut self.orphans[index];
        let now = self.shared.now;
        let mut any = node.read(up, &mut self.storage, now, &mut self.random);
        any |= !node.is_lost && node.work(&mut self.storage, now, &mut self.random);
        if node.is_lost {
            self.orphans.swap_remove(index);
        }
        any
    }

    fn act_attack(&mut self, index: usize) {
        let Attack {
            attacker,
            node,
            up,
            down,
        } = &mut self.attacks[index];
        let (now, random) = (self.shared.now, &mut self.random);
        match random.below(5) {
            0 | 1 if attacker.is_flood() => {
                for _ in 0..20 {
                    attacker.write(up, random);
                    node.read(up, &mut self.storage, now, random);
                }
            }
            0 | 1 => attacker.write(up, random),
            2 => attacker.read(down, random),
            3 => {
                node.write(down, now, random);
                node.work(&mut self.storage, now, random);
            }
            _ => {
                node.read(up, &mut self.storage, now, random);
                node.check_bounds();
                node.handle_timeout(&mut self.storage, now);
            }
        }
        if node.is_lost || attacker.is_done() {
            let mut attack = self.attacks.swap_remove(index);
            self.shared.tally.violations += u64::from(attack.node.violation.is_some());
            attack.node.lose(&mut self.storage);
        }
    }

    /// Removes connections that are over at either end.
    fn bury(&mut self) -> bool {
        let before = self.lines.len();
        let mut index = 0;
        while index < self.lines.len() {
            let line = &mut self.lines[index];
            if line.node.is_lost || line.client.is_lost {
                (line.up.is_closed, line.down.is_closed) = (true, true);
            }
            let client_ends = line.client.is_lost || (line.node.is_lost && line.down.len() == 0);
            if !client_ends {
                index += 1;
                continue;
            }
            let mut line = self.lines.swap_remove(index);
            self.check_violations(&line);
            for key in line.client.lose(&mut self.shared) {
                self.clients[line.owner].plans.push_front(Plan::Undo(key));
            }
            // What is still on its way arrives when it likes, if it does.
            if !line.node.is_lost && !self.random.once_in(3) {
                self.orphans.push((line.node, line.up));
            } else {
                line.node.lose(&mut self.storage);
            }
        }
        self.lines.len() < before
    }
}
