import { AssertionError } from "node:assert";

const MINUS_ZERO = "JSON.stringify, which protobuf-es uses, writes minus zero as 0";

/** What protobuf-es cannot do. */
const LIMITS = new Map([
  ["json_view completion_logprobs", MINUS_ZERO],
  ["json_view least_numbers", MINUS_ZERO],
]);

/** Prints the results of cases. */
export class Report {
  failed = false;

  /** Runs a case; it fails if it throws, unless that is a limit of the runtime. */
  async run(kind: string, name: string, check: () => unknown): Promise<void> {
    let result = "ok";
    const limit = LIMITS.get(`${kind} ${name}`);
    try {
      await check();
      if (limit !== undefined) throw new Error("this works now, and is no limit");
    } catch (error) {
      const isLimit = limit !== undefined && error instanceof AssertionError;
      result = isLimit ? `limit: ${limit}` : `FAIL: ${String(error).replace(/\s+/g, " ")}`;
      this.failed ||= !isLimit;
    }
    console.log(`${kind}\t${name}\t${result}`);
  }
}
