//! What a seed makes of the world.

use std::{collections::VecDeque, time::Instant};

use proxystore_wire::{Limits, handshake::Authentication};

use super::{Client, Trouble, World};
use crate::{
    objects::{Cell, Object},
    outcome::{Plan, Shared},
    random::Random,
    storage::Storage,
    tally::Tally,
};

const SECRET: Authentication<'static> = Authentication::Secret {
    secret: b"known to all but strangers",
    binding: b"127.0.0.1:1 127.0.0.1:2",
};

fn limits(random: &mut Random) -> Limits {
    let mut up_to = |most: usize| u32::try_from(random.below(most)).expect("small");
    Limits {
        streams: up_to(12) + 1,
        inline: up_to(2000),
        chunk: 1024 + up_to(8000),
        credit: 1024 + up_to(16_000),
        window: 4096 + up_to(30_000),
    }
}

fn any_len(random: &mut Random) -> usize {
    match random.below(6) {
        0 => 0,
        1 | 2 => random.below(200),
        3 | 4 => random.below(4000),
        _ => random.below(60_000),
    }
}

fn any_trouble(random: &mut Random) -> Trouble {
    match random.below(8) {
        0 => Trouble::Nothing,
        1 => Trouble::Flips,
        2 => Trouble::Jumps,
        3 => Trouble::Drains,
        4 => Trouble::Attacks,
        5 => Trouble::Everything,
        _ => Trouble::Cuts,
    }
}

/// Clients of which somebody puts each object, and that do anything else with them meanwhile.
fn any_clients(objects: usize, random: &mut Random) -> Vec<Client> {
    let clients = (0..random.between(1, 4)).map(|_| Client {
        plans: VecDeque::new(),
        limits: limits(random),
        troubles: 3,
    });
    let mut clients: Vec<_> = clients.collect();
    for object in 0..objects {
        let races = random.once_in(10);
        let client = random.below(clients.len());
        clients[client].plans.push_back(Plan::Put { object, races });
    }
    for client in &mut clients {
        for _ in 0..random.between(1, 20) {
            let plan = any_plan(objects, random);
            let puts = client.plans.len().min(random.below(4));
            let at = random.between(puts, client.plans.len() + 1);
            client.plans.insert(at, plan);
        }
    }
    clients
}

fn any_plan(objects: usize, random: &mut Random) -> Plan {
    let object = random.below(objects);
    match random.below(17) {
        0 => Plan::Status,
        1 | 2 => Plan::Exists { object },
        3 => Plan::Evict { object },
        5 | 6 => Plan::Set {
            cell: random.below(2),
            version: random.below(4),
        },
        7..=9 => Plan::Read {
            cell: random.below(2),
            whole: random.once_in(2),
        },
        4 => Plan::Get {
            object,
            forged: true,
            whole: true,
        },
        _ => Plan::Get {
            object,
            forged: false,
            whole: random.once_in(2),
        },
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let trouble = any_trouble(&mut random);
        let objects: Vec<_> = (0..random.between(1, 12))
            .map(|_| {
                let len = any_len(&mut random);
                Object::new(len, &mut random)
            })
            .collect();
        let cells = (0..2).map(|_| {
            let lens = [(); 4].map(|()| any_len(&mut random));
            Cell::new(&lens, &mut random)
        });
        let cells: Vec<_> = cells.collect();
        let clients = any_clients(objects.len(), &mut random);
        let budget = if random.once_in(3) {
            random.below(50_000)
        } else {
            1 << 30
        };
        let authentication = if random.once_in(2) {
            SECRET
        } else {
            Authentication::Transport
        };
        Self {
            trouble,
            is_calm: false,
            storage: Storage::new(budget),
            node_limits: limits(&mut random),
            authentication,
            clients,
            lines: Vec::new(),
            attacks: Vec::new(),
            orphans: Vec::new(),
            shared: Shared {
                objects,
                cells,
                step: 0,
                now: Instant::now(),
                tally: Tally::default(),
                is_trusting: true,
            },
            cut: None,
            is_straight: false,
            random,
        }
    }

    /// One client that does everything once; its first connection may be cut.
    pub(crate) fn straight(seed: u64, cut: Option<(bool, usize)>) -> Self {
        let mut world = Self::new(seed);
        world.trouble = Trouble::Nothing;
        world.authentication = SECRET;
        world.storage = Storage::new(1 << 30);
        let small = Limits {
            streams: 4,
            inline: 300,
            chunk: 1024,
            credit: 1024,
            window: 4096,
        };
        world.node_limits = small;
        let random = &mut world.random;
        world.shared.objects = [0, 250, 2500].map(|len| Object::new(len, random)).into();
        let mut plans = VecDeque::new();
        for object in 0..3 {
            plans.push_back(Plan::Put {
                object,
                races: false,
            });
        }
        for object in 0..3 {
            plans.push_back(Plan::Get {
                object,
                forged: false,
                whole: true,
            });
            plans.push_back(Plan::Exists { object });
        }
        plans.push_back(Plan::Status);
        plans.push_back(Plan::Evict { object: 1 });
        world.clients = vec![Client {
            plans,
            limits: small,
            troubles: 0,
        }];
        world.cut = cut;
        world.is_straight = true;
        world
    }
}
