import { Tables } from "./maps/tables";

/** A seeded generator (splitmix64): what it returns depends on the seed and on how often it was asked. */
export class Random {
  /** 32 uniform bits. */
  static next(): u32 {
    const control = Tables.control;
    const state = Random.after(control.randomState);
    control.randomState = state;
    return Random.bits(state);
  }

  /** The state that follows one, and the bits that a state stands for. */
  @inline static after(state: u64): u64 {
    return state + 0x9e3779b97f4a7c15;
  }
  @inline static bits(state: u64): u32 {
    let z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return <u32>((z ^ (z >> 31)) >> 32);
  }

  /** Uniform in 0 … n-1 by multiplication; 0 for n = 0. The bias is below n / 2^32. */
  @inline static below(n: u32): u32 {
    return Random.scale(Random.next(), n);
  }

  /** 32 bits brought into 0 … n-1. */
  @inline static scale(bits: u32, n: u32): u32 {
    return <u32>((<u64>bits * <u64>n) >> 32);
  }
}
