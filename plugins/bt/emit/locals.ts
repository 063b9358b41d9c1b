// The locals that every region's function has, by number, before its temporaries.

/** Locals of a region's function. Parameter 0 is the entry's number. */
export const ENTRY = 0;
/** The first of the eight general registers. */
export const REGISTERS = 1;
/** The flags where nothing is known of them: what they come from (flag_kinds.ts), its left operand or FLAG_AUX, right, result. */
export const FLAG_RESULT = 9, FLAG_AUX = 10, FLAG_RIGHT = 14, FLAG_KIND = 15;
/** Local that has the result wherever flags are stored or moved. */
export const STORED_RESULT = FLAG_RESULT;
/** What a `partial` or `carry` flag state has of its own. */
export const FLAG_PART = 16;
/** STATUS is 0 where the region is left to be chained to whatever is at EIP, else a site's index plus one: negated to call out. */
export const BUDGET = 11, EIP = 12, STATUS = 13;
export const FIXED_LOCALS = 16;
/** Names of the locals from 0, for people: the fixed ones, then those of the two flag states. Temporaries have none. */
export const LOCAL_NAMES = [
  ...["entry", "eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"],
  ...["flagResult", "flagAux", "budget", "eip", "status", "flagRight", "flagKind", "flagPart"],
  ...["left0", "right0", "result0", "left1", "right1", "result1"],
];
