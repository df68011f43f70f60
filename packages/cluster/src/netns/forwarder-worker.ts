/** Entry of a forwarder's thread: enters the node's network namespace and forwards until told to close. */

import { workerData } from "node:worker_threads";
import { enterNetworkNamespace, keepDescriptorLedger } from "@portolan/netio-linux";
import { runForwarder } from "./forwarder.ts";
import type { ForwarderData } from "./protocol.ts";

const data = workerData as ForwarderData;
keepDescriptorLedger(data.descriptors);
enterNetworkNamespace(data.namespace);
runForwarder(data);
