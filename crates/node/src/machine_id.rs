//! The machines of a node, by name.

use std::fmt;

/// A machine of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MachineId {
    /// Links to other nodes, subscriptions and calls.
    Links,
    /// Clients that have no lane yet.
    Arrivals,
    /// The lane with this index.
    Lane(u8),
    /// The host of services with this index.
    Service(u8),
}

impl MachineId {
    /// Its number, by which calls name the machine that waits for their answer.
    pub const fn number(self) -> u16 {
        match self {
            Self::Links => 0,
            Self::Arrivals => 1,
            Self::Lane(lane) => 0x100 + lane as u16,
            Self::Service(service) => 0x200 + service as u16,
        }
    }

    /// The machine with a number.
    pub const fn of_number(number: u16) -> Option<Self> {
        match (number >> 8, number as u8) {
            (0, 0) => Some(Self::Links),
            (0, 1) => Some(Self::Arrivals),
            (1, lane) => Some(Self::Lane(lane)),
            (2, service) => Some(Self::Service(service)),
            _ => None,
        }
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Links => f.write_str("links"),
            Self::Arrivals => f.write_str("arrivals"),
            Self::Lane(lane) => write!(f, "lane-{lane}"),
            Self::Service(service) => write!(f, "service-{service}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_one_machine() {
        let machines = [
            MachineId::Links,
            MachineId::Arrivals,
            MachineId::Lane(0),
            MachineId::Lane(255),
            MachineId::Service(0),
            MachineId::Service(255),
        ];
        for machine in machines {
            assert_eq!(MachineId::of_number(machine.number()), Some(machine));
        }
        assert_eq!(MachineId::of_number(2), None);
        assert_eq!(MachineId::of_number(0x300), None);
    }
}
