// The reclaimer: watches free memory, computes targets, and takes what is missing from the VMs above theirs: by balloon
// while there is time, by paging where there is none, and in the state low nobody above its target runs (ESX paper,
// sections 5.1 and 6.3).

import type { HostView, ObservePort, Vm } from "../../core/mod.ts";
import type { MachineMemory, MemoryReport } from "../memory/mod.ts";
import type { Pager } from "../swap/mod.ts";
import type { BalloonQuestion, PageCost, ReclamationState, stateChanged, TargetsQuestion, VmMemory } from "./events.ts";
import { type Holding, revoke } from "./revocation.ts";
import { fitTargets, proportionalTargets } from "./shares.ts";
import { nextState, type Thresholds } from "./states.ts";

/** What the allocator knows of a VM. */
export interface Account {
  readonly vm: Vm;
  readonly maxPages: number;
  readonly overheadPages: number;
  shares: number;
  minPages: number;
  targetPages: number;
  /** What its pages cost it, as of the last computation of targets. */
  cost: PageCost;
  /** Size of the balloon that was asked for last, when that was, and whether somebody works on it. */
  askedPages: number;
  askedNs: number;
  isReachable: boolean;
  /** When the balloon last came nearer to what was asked, and its size then. */
  progressNs: number;
  progressPages: number;
}

/** What the reclaimer works with. */
export interface Parts {
  readonly host: HostView;
  readonly machine: MachineMemory;
  readonly report: MemoryReport;
  readonly pager: Pager;
  readonly thresholds: Thresholds;
  /** How long a balloon may stand still while pages are needed, before they are paged. */
  readonly balloonPatienceNs: number;
  /** Active memory of a VM as a part of its maximum, where it is known. */
  activeFraction(vm: Vm): number | undefined;
  askTargets(question: TargetsQuestion): readonly number[] | undefined;
  askPageCosts(question: TargetsQuestion): readonly PageCost[] | undefined;
  askBalloon(question: BalloonQuestion): { readonly reachable: boolean } | undefined;
  readonly stateChanged: ObservePort<Parameters<NonNullable<typeof stateChanged.types>>[0]>;
  targetChanged(vm: Vm, fromPages: number, toPages: number): void;
  /** Calls `tick` every `periodNs` until the function that it returns is called. */
  every(periodNs: number, tick: () => void): () => void;
}

/** Host time between two looks while memory is short, and between two computations of targets then. */
const TICK_NS = 1e6, PLAN_NS = 100e6;
/** A balloon is asked for another size at once where that differs by this part of its VM's memory; else after a while. */
const ASKED_STEP = 1 / 128, ASKED_NS = 1e9;
/** Pages that a VM is made to wait for when it needs one and none is free. */
const DIRECT_BATCH = 16;
const HOLDER = "allocator";
/** A page costs one, as long as nobody says otherwise. */
export const PLAIN_COST: PageCost = { activePages: Infinity, idlePageCost: 1 };

export class Reclaimer {
  state: ReclamationState = "high";
  readonly accounts = new Map<Vm, Account>();
  readonly counts = { stateChanges: 0, pagedOut: 0, directReclaims: 0, balloonRequests: 0, blocks: 0 };
  /** By account: pages to be paged out, as planned last. */
  readonly #due = new Map<Account, number>();
  readonly #blocked = new Set<Vm>();
  /** The last paging freed nothing: all that VMs hold are pages of zeros, or the disk fails. */
  #isStuck = false;
  #plannedNs = -Infinity;
  #stopTicking: (() => void) | undefined;

  constructor(readonly parts: Parts) {}

  /** Pages to give out: all but the hypervisor's and what brings the state high back, and more by what sharing saves. */
  get availablePages(): number {
    const { totalFrames, hypervisorFrames, savedFrames } = this.parts.report.host();
    return Math.max(0, totalFrames - hypervisorFrames + savedFrames - this.#framesAbove("high"));
  }

  /** Looks at free memory; cheap while there is plenty. To be called whenever some may have been used. */
  look(): void {
    const { machine, thresholds } = this.parts;
    if (this.state === "high" && machine.freeFrames >= thresholds.soft * machine.totalFrames) return;
    this.#update();
  }

  /** Computes targets anew and acts on them. */
  rebalance(): void {
    this.computeTargets();
    this.#update();
    this.#plan();
  }

  /** A VM's memory as it stands. */
  snapshot(account: Account): VmMemory {
    const { vm, shares, minPages, maxPages, targetPages } = account;
    const { allocatedPages, sharedPages, balloonedPages, swappedPages } = this.parts.report.vm(vm);
    const activeFraction = this.parts.activeFraction(vm);
    const active = activeFraction === undefined
      ? undefined
      : { activeFraction, activePages: Math.round(activeFraction * maxPages) };
    const pages = { allocatedPages, sharedPages, balloonedPages, swappedPages, targetPages };
    return { name: vm.name, shares, minPages, maxPages, ...pages, ...active };
  }

  computeTargets(): void {
    const accounts = [...this.accounts.values()], pages = this.availablePages;
    const vms = accounts.map((account) => this.snapshot(account));
    const question = { pages, vms, hostTimeNs: this.parts.host.nowNs };
    const answer = this.parts.askTargets(question), costs = this.parts.askPageCosts(question);
    const targets = answer === undefined ? proportionalTargets(pages, vms) : fitTargets(pages, vms, answer);
    for (const [i, account] of accounts.entries()) {
      const fromPages = account.targetPages;
      account.targetPages = targets[i];
      account.cost = checkedCost(costs?.[i]);
      if (fromPages !== targets[i]) this.parts.targetChanged(account.vm, fromPages, targets[i]);
    }
  }

  /**
   * Frees a frame now, for a VM that waits for it: pages of whoever is above its target and pays least, or else of whoever
   * is above its minimum. False where none could be freed.
   */
  reclaimFor(vm: Vm): boolean {
    this.counts.directReclaims++;
    this.#update();
    const accounts = [...this.accounts.values()];
    const floors = [(account: Account) => account.targetPages, (account: Account) => account.minPages];
    for (const floor of floors) {
      const taken = revoke(DIRECT_BATCH, accounts.map((account) => this.#holding(account, floor(account))));
      const freed = accounts.reduce((sum, account, i) => sum + this.#pageOut(account, taken[i], vm), 0);
      if (freed > 0) return true;
    }
    return false;
  }

  /** A VM ended: what was kept for it goes to the others. */
  remove(vm: Vm): void {
    this.#unblock(vm);
    const account = this.accounts.get(vm);
    if (account !== undefined) this.#due.delete(account);
    this.accounts.delete(vm);
  }

  #update(): void {
    const { machine, thresholds, stateChanged, host } = this.parts;
    const from = this.state, { freeFrames } = machine;
    const to = nextState(from, freeFrames / machine.totalFrames, thresholds);
    if (to !== from) {
      this.state = to;
      this.counts.stateChanges++;
      this.#plan();
      if (stateChanged.active) stateChanged.emit({ from, to, freeFrames });
    } else if (to !== "high" && host.nowNs - this.#plannedNs >= PLAN_NS) this.#plan();
    else if (to !== "high") this.#planReclaiming(false);
    if (to === "high") {
      this.#stopTicking?.();
      this.#stopTicking = undefined;
    } else this.#stopTicking ??= this.parts.every(TICK_NS, () => this.#tick());
  }

  /** Pages out as much as the disk writes in one period. */
  #tick(): void {
    this.#update();
    const { writePageNs } = this.parts.pager;
    const most = writePageNs > 0 ? Math.ceil(TICK_NS / writePageNs) : Infinity;
    let freed = 0;
    for (const [account, due] of this.#due) {
      const pages = this.#pageOut(account, Math.min(due, most - freed));
      this.#due.set(account, due - pages);
      freed += pages;
      if (freed >= most) break;
    }
    this.#isStuck = this.#due.size > 0 && freed === 0;
    this.#update();
  }

  #plan(): void {
    this.#plannedNs = this.parts.host.nowNs;
    if (this.state !== "high") this.computeTargets();
    this.#planReclaiming(true);
  }

  /**
   * Asks for balloons, where more or less is needed than was asked before, or, after a while, all `again`; says who pages how much (in
   * soft, VMs whose balloon cannot serve; below, everyone until soft is reached again), and who may run.
   */
  #planReclaiming(again: boolean): void {
    const accounts = [...this.accounts.values()];
    const takes = this.#revokeUpTo("high", accounts);
    for (const [i, account] of accounts.entries()) this.#steerBalloon(account, takes[i], again);
    this.#due.clear();
    const isSoft = this.state === "soft";
    const pagings = isSoft ? takes : this.#revokeUpTo("soft", accounts);
    for (const [i, account] of accounts.entries()) {
      if (pagings[i] > 0 && !(isSoft && this.#balloonServes(account))) this.#due.set(account, pagings[i]);
    }
    this.#planBlocks();
  }

  /** Pages to be taken from each, above its target first, until free memory has left the states below `state` for good. */
  #revokeUpTo(state: "high" | "soft", accounts: readonly Account[]): number[] {
    if (this.state === "high") return accounts.map(() => 0);
    const needed = Math.max(0, this.#framesAbove(state) - this.parts.machine.freeFrames);
    return revoke(needed, accounts.map((account) => this.#holding(account, account.targetPages)));
  }

  #holding(account: Account, floorPages: number): Holding {
    const { allocatedPages } = this.parts.report.vm(account.vm);
    const { shares, cost } = account;
    return { shares, pages: allocatedPages, floorPages: Math.min(floorPages, allocatedPages), ...cost };
  }

  /**
   * Asks for a larger balloon while pages are needed, and for a smaller one when the target allows it. Where VMs use all that
   * they can get, need rises and falls with every page: small changes wait, and a balloon once asked for is not taken back.
   */
  #steerBalloon(account: Account, take: number, again: boolean): void {
    const { host, report } = this.parts;
    const { balloonedPages } = report.vm(account.vm);
    const most = account.maxPages - Math.max(account.targetPages, account.minPages);
    const pages = Math.min(most, Math.max(account.askedPages, take > 0 ? balloonedPages + take : 0));
    if (take === 0 && pages === account.askedPages) return;
    if (balloonedPages > account.progressPages || balloonedPages >= account.askedPages) account.progressNs = host.nowNs;
    account.progressPages = balloonedPages;
    const change = Math.abs(pages - account.askedPages), isDue = host.nowNs - account.askedNs >= ASKED_NS;
    if (change < ASKED_STEP * account.maxPages && !(isDue && (again || change > 0))) return;
    account.askedPages = pages;
    account.askedNs = host.nowNs;
    this.counts.balloonRequests++;
    account.isReachable = this.parts.askBalloon({ vm: account.vm, pages })?.reachable === true;
  }

  /** Whether what is needed may be left to the balloon. */
  #balloonServes({ isReachable, progressNs }: Account): boolean {
    return isReachable && this.parts.host.nowNs - progressNs <= this.parts.balloonPatienceNs;
  }

  /** In low, whoever is above its target stands still, as long as paging gets anywhere: else it would be for ever. */
  #planBlocks(): void {
    const { report, host } = this.parts;
    const isBlocking = this.state === "low" && !this.#isStuck;
    for (const { vm, targetPages } of this.accounts.values()) {
      if (!isBlocking || report.vm(vm).allocatedPages <= targetPages) this.#unblock(vm);
      else if (!this.#blocked.has(vm)) {
        this.#blocked.add(vm);
        this.counts.blocks++;
        host.suspend(vm, HOLDER);
      }
    }
  }

  #unblock(vm: Vm): void {
    if (this.#blocked.delete(vm)) this.parts.host.resume(vm, HOLDER);
  }

  #pageOut({ vm }: Account, count: number, waiting?: Vm): number {
    if (count <= 0) return 0;
    const freed = this.parts.pager.pageOut(vm, count, waiting);
    this.counts.pagedOut += freed;
    return freed;
  }

  /** The fewest free frames at which a state is come back to from below. */
  #framesAbove(state: "high" | "soft"): number {
    const { thresholds, machine } = this.parts;
    return Math.floor((thresholds[state] + thresholds.margin) * machine.totalFrames) + 1;
  }
}

/** A policy's answer as far as it is a cost: idle pages cost at least what active ones do. */
function checkedCost(cost: PageCost | undefined): PageCost {
  const isCost = cost !== undefined && cost.activePages >= 0 && cost.idlePageCost >= 1 && cost.idlePageCost < Infinity;
  return isCost ? cost : PLAIN_COST;
}
