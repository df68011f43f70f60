import { main } from "portolan";

process.exitCode = await main(["up", ...process.argv.slice(2)]);
