import { NONE } from "../generated/layout";
import { Tables } from "./tables";

/** So many freed ones are held back before the first of them is used again: what refers to it late finds it as it was. */
const HELD_BACK: u32 = 1024;

/** The pool of IPv6 addresses: compact records hold the number of one. */
export class LongAddresses {
  @inline static ring(index: u32): usize {
    const control = Tables.control;
    const at = index >= control.longAddressCapacity ? index - control.longAddressCapacity : index;
    return <usize>(control.longAddressFree + (at << 2));
  }

  /** Puts an address into the pool; none when it is full. */
  static take(high: u64, low: u64): u32 {
    const control = Tables.control;
    let id = control.longAddressHighWater;
    if (id < control.longAddressCapacity && control.longAddressFreeCount <= HELD_BACK) control.longAddressHighWater++;
    else {
      if (control.longAddressFreeCount == 0) return NONE;
      const at = LongAddresses.ring(control.longAddressFirst);
      id = load<u32>(at);
      control.longAddressFirst =
        control.longAddressFirst + 1 == control.longAddressCapacity ? 0 : control.longAddressFirst + 1;
      control.longAddressFreeCount--;
    }
    const address = Tables.longAddress(id);
    address.high = high;
    address.low = low;
    return id;
  }

  static give(id: u32): void {
    const control = Tables.control;
    store<u32>(LongAddresses.ring(control.longAddressFirst + control.longAddressFreeCount), id);
    control.longAddressFreeCount++;
  }
}
