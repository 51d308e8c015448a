/** Prints the results of cases. */
export class Report {
  failed = false;

  /** Runs a case; it fails if it throws. */
  async run(kind: string, name: string, check: () => unknown): Promise<void> {
    let result = "ok";
    try {
      await check();
    } catch (error) {
      result = `FAIL: ${String(error).replace(/\s+/g, " ")}`;
      this.failed = true;
    }
    console.log(`${kind}\t${name}\t${result}`);
  }
}
