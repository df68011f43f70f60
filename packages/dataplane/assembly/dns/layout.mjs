/** Structures of the DNS program's map, in the form of `../layout.mjs`, which generates both sides of them. */

/** Constants: `[name, value, comment]`. Offsets are from the first byte of the program's region. */
export const dnsConstants = [
  ["DNS_ZONE_NAME", 512, "Offset of the zone's name: wire form, folded, zero after its end, 264 bytes."],
  ["DNS_AUTHORITY", 776, "Offset of the SOA record that negative answers carry, 120 bytes."],
  [
    "DNS_ADDRESSES",
    896,
    "Offset of the Service addresses that frames are answered for: two u64 raw words each, 8 of them.",
  ],
  ["DNS_ADDRESS_LIMIT", 8, "Most Service addresses."],
  ["DNS_FOLDED", 1024, "Offset of the name in question, folded: 272 bytes."],
  ["DNS_LABELS", 1296, "Offset of the starts of its labels: 128 bytes, one each."],
  ["DNS_ANSWERED", 1536, "Offset of answered frames' descriptors until their batch ends: 256 of 16 bytes."],
  ["DNS_MAP", 5632, "Offset of the map: slots, nodes and answers."],
  ["DNS_LARGEST_REPLY", 1232, "Most octets of a reply by UDP; longer ones are the server's."],
  ["DNS_LARGEST_QUERY", 512, "Most octets of a message that is looked at."],
];

/** Numbered names. */
export const dnsEnumerations = {
  DnsFlag: {
    comment: "How the DNS program works.",
    values: { ENABLED: 1, NEGATIVE: 2, ROTATE: 4 },
  },
  DnsNodeFlag: {
    comment: "Facts of a name. CLOSED: every name directly below it is in the map, or does not exist.",
    values: { CLOSED: 1 },
  },
  DnsState: {
    comment:
      "What a node has for a type: nothing (NODATA), the server's affair, or (any other number) the address of a block.",
    values: { NO_DATA: 0, PASS: 1 },
  },
  DnsOutcome: {
    comment:
      "What became of a question, and which counter it is in. ANSWER, NO_DATA and NAME_ERROR come once per type.",
    values: { ANSWER: 0, NO_DATA: 1, NAME_ERROR: 2 },
  },
  DnsPass: {
    comment: "Why a question was left to the server.",
    values: { DISABLED: 0, MESSAGE: 1, TYPE: 2, ZONE: 3, NAME: 4, STATE: 5, SIZE: 6, CASE: 7 },
  },
};

/** Structures: fields in order, `[name, type, comment]`, optionally an array length as fourth. */
export const dnsStructures = {
  DnsZone: {
    comment: "The DNS program's head: the zone it answers for, where its map lies, and what it counted.",
    size: 512,
    fields: [
      ["slots", "u32", "Address of the slots."],
      ["slotMask", "u32", "Number of slots less one."],
      ["flags", "u32", "`DnsFlag`."],
      ["nodes", "u32", "Names in the map."],
      ["nameLength", "u32", "Octets of the zone's name, the root label included."],
      ["labels", "u32", "Its labels."],
      ["authorityLength", "u32", "Octets of the SOA record; its owner and two more names end in pointers to the zone."],
      ["authorityServer", "u32", "Offset of the pointer in the primary server's name."],
      ["authorityMailbox", "u32", "Offset of the pointer in the mailbox's name."],
      ["payloadSize", "u32", "The server's own UDP payload size, octets."],
      ["addressCount", "u32", "Service addresses."],
      ["lastType", "u32", "Index of the type that was answered last: A 0, AAAA 1, SRV 2."],
      ["lastDnssecOk", "u32", "128 if that question had the DO bit."],
      ["unused", "u32", ""],
      ["seed", "u64", "Seed of hashes."],
      ["random", "u64", "State of the generator that turns addresses round; not 0."],
      ["answers", "u64", "By type and outcome: index type * 3 + outcome.", 9],
      ["passed", "u64", "By reason.", 8],
    ],
  },
  DnsNode: {
    comment:
      "A name in the map, its labels in front of the zone behind it: wire form, folded, zero to a multiple of eight bytes.",
    size: 24,
    fields: [
      ["length", "u16", "Octets of the name in front of the zone; 0 is the zone itself."],
      ["flags", "u16", "`DnsNodeFlag`."],
      ["a", "u32", "`DnsState`, or the address of the block for A."],
      ["aaaa", "u32", "For AAAA."],
      ["srv", "u32", "For SRV."],
      ["next", "u32", "Next node of the same group, 0 for none: what is entered and removed together."],
    ],
  },
  DnsBlock: {
    comment:
      "Records of one answer, as the server encodes them after the question; they follow, with eight bytes to spare.",
    size: 8,
    fields: [
      ["length", "u16", "Octets."],
      ["answers", "u16", "Records of the answer section."],
      ["additionals", "u16", "Records of the additional section, without OPT."],
      [
        "turn",
        "u16",
        "Octets of each record if their order does not matter; 0xffff: letters of the question are in the records, so only lower case is answered; else 0.",
      ],
    ],
  },
};
