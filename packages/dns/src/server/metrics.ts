/** Values of labels in the order of their names. */
type LabelValues = readonly string[];

/** One line of a counter. */
export interface Counter {
  increment(by?: number): void;
}

/** One set of buckets. */
export interface Histogram {
  observe(value: number): void;
}

interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  lines(): Iterable<string>;
}

/** A set of metrics in the text format of Prometheus. */
export interface MetricsRegistry {
  counter(name: string, help: string, labels?: readonly string[]): (...values: LabelValues) => Counter;
  histogram(
    name: string,
    help: string,
    buckets: readonly number[],
    labels?: readonly string[],
  ): (...values: LabelValues) => Histogram;
  /** The value is asked for when the text is made. */
  gauge(name: string, help: string, read: () => number): void;
  /** Lines that are asked for when the text is made. */
  gauges(
    name: string,
    help: string,
    labels: readonly string[],
    read: () => Iterable<readonly [LabelValues, number]>,
    type?: "gauge" | "counter",
  ): void;
  /** Text exposition format 0.0.4. */
  text(): string;
}

function escaped(value: string): string {
  // Label values must be UTF-8 and must not break the line.
  return value.replace(/[\\"\n]/g, (character) => (character === "\n" ? "\\n" : `\\${character}`));
}

function labelText(names: readonly string[], values: LabelValues): string {
  return names.map((name, index) => `${name}="${escaped(values[index] ?? "")}"`).join(",");
}

/** Powers: `count` bounds from `start`, each `factor` times the one before. */
export function exponentialBuckets(start: number, factor: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => start * factor ** index);
}

/** Creates an empty set. */
export function createMetricsRegistry(): MetricsRegistry {
  const families: Family[] = [];
  function family<T>(
    name: string,
    help: string,
    type: Family["type"],
    labels: readonly string[],
    create: () => T,
    show: (labelText: string, line: T) => Iterable<string>,
  ): (...values: LabelValues) => T {
    const children = new Map<string, T>();
    families.push({
      name,
      help,
      type,
      *lines() {
        for (const [text, child] of children) yield* show(text, child);
      },
    });
    return (...values) => {
      const text = labelText(labels, values);
      let child = children.get(text);
      if (child === undefined) {
        child = create();
        children.set(text, child);
      }
      return child;
    };
  }
  const braces = (text: string): string => (text === "" ? "" : `{${text}}`);

  return {
    counter(name, help, labels = []) {
      return family(
        name,
        help,
        "counter",
        labels,
        () => ({
          value: 0,
          increment(by = 1) {
            this.value += by;
          },
        }),
        (text, child) => [`${name}${braces(text)} ${child.value}`],
      );
    },
    histogram(name, help, buckets, labels = []) {
      return family(
        name,
        help,
        "histogram",
        labels,
        () => ({
          counts: new Float64Array(buckets.length + 1),
          sum: 0,
          observe(value: number) {
            let index = 0;
            while (index < buckets.length && value > buckets[index]!) index++;
            this.counts[index]!++;
            this.sum += value;
          },
        }),
        (text, child) => {
          const lines: string[] = [];
          const separator = text === "" ? "" : ",";
          let total = 0;
          buckets.forEach((bound, index) => {
            total += child.counts[index]!;
            lines.push(`${name}_bucket{${text}${separator}le="${bound}"} ${total}`);
          });
          total += child.counts[buckets.length]!;
          lines.push(`${name}_bucket{${text}${separator}le="+Inf"} ${total}`);
          lines.push(`${name}_sum${braces(text)} ${child.sum}`, `${name}_count${braces(text)} ${total}`);
          return lines;
        },
      );
    },
    gauge(name, help, read) {
      families.push({ name, help, type: "gauge", lines: () => [`${name} ${read()}`] });
    },
    gauges(name, help, labels, read, type = "gauge") {
      families.push({
        name,
        help,
        type,
        *lines() {
          for (const [values, value] of read()) yield `${name}${braces(labelText(labels, values))} ${value}`;
        },
      });
    },
    text() {
      let text = "";
      for (const { name, help, type, lines } of families) {
        const all = [...lines()];
        if (all.length > 0) text += `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${all.join("\n")}\n`;
      }
      return text;
    },
  };
}
