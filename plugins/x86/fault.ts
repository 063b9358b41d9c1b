// A guest's fault on its way from where it is raised to where it is delivered.

/** Thrown by the processor for a guest's fault: a signal, not an Error, because faults are everyday events. */
export class GuestFault {
  vector = 0;
  /** Undefined where the vector pushes none. */
  errorCode: number | undefined;
  /** Raised after a task switch had committed: EIP is the new task's already, and no instruction is to be restarted. */
  inNewTask = false;

  /** Makes it the fault that is to be thrown; every processor has one for all. */
  set(vector: number, errorCode: number | undefined): this {
    this.vector = vector;
    this.errorCode = errorCode;
    this.inNewTask = false;
    return this;
  }
}
