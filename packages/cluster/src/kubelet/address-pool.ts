import { addressFromBigInt, addressToBigInt, formatAddress, maskAddress, parsePrefix } from "@portolan/net";

/** Hands out the addresses of a block in order, the network's own, the gateway's and the broadcast left out. */
export interface AddressPool {
  /** @throws RangeError when all are taken */
  take(): string;
  release(address: string): void;
}

/** Makes an {@link AddressPool}. An address given back is not handed out again before all others were. */
export function createAddressPool(cidr: string): AddressPool {
  const prefix = parsePrefix(cidr);
  if (prefix === undefined) throw new RangeError(`pod CIDR "${cidr}" is no prefix; give one such as "10.244.1.0/24"`);
  const network = maskAddress(prefix.address, prefix.length);
  const bits = network.family === "IPv4" ? 32 : 128;
  // 65,536 pods are more than a node takes; a /64 need not be walked whole.
  const size = Number(2n ** BigInt(Math.min(bits - prefix.length, 16)));
  const first = addressToBigInt(network);
  const taken = new Set<string>();
  let next = 2;
  const last = network.family === "IPv4" ? size - 2 : size - 1;
  return {
    take() {
      for (let tried = 2; tried <= last; tried++) {
        const address = formatAddress(addressFromBigInt(first + BigInt(next), network.family));
        next = next >= last ? 2 : next + 1;
        if (taken.has(address)) continue;
        taken.add(address);
        return address;
      }
      throw new RangeError(`all addresses of pod CIDR ${cidr} are taken; delete pods or give the node a larger block`);
    },
    release(address) {
      taken.delete(address);
    },
  };
}
