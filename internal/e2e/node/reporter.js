// A reporter for Node's test runner: a line of JSON for each test, for the Go side.

/** text returns what went wrong; the runner wraps errors into its own. */
function text(error) {
  const cause = error?.cause ?? error;
  return String(cause?.stack ?? cause?.message ?? cause ?? "failed");
}

export default async function* report(source) {
  for await (const { type, data } of source) {
    if (type !== "test:pass" && type !== "test:fail") continue;
    const error = type === "test:fail" ? text(data.details?.error) : undefined;
    yield `${JSON.stringify({ name: data.name, error, skipped: Boolean(data.skip || data.todo) })}\n`;
  }
}
