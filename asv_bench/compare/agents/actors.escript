#!/usr/bin/env escript
%%! +P 4000000
%% Erlang's part of `tools/compare agents`: reads an order a line, answers with a line of numbers.
%% Times are in nanoseconds. erlang.py says what each order is.
-mode(compile).

main(_) ->
    orders([]).

orders(Alive) ->
    case io:get_line("") of
        eof -> halt(0);
        Line ->
            [Word | Numbers] = string:lexemes(Line, " \n"),
            {Answer, Kept} = order(Word, [list_to_integer(N) || N <- Numbers], Alive),
            io:put_chars([lists:join(" ", [integer_to_list(N) || N <- Answer]), "\n"]),
            orders(Kept)
    end.

order("ready", [], Kept) ->
    {[1], Kept};
order("spawn", [Agents], Kept) ->
    {Times, Pids} = spawn_each(Agents, [], []),
    Agents = ask_all(Pids),
    disperse(Pids),
    {Times, Kept};
order("answer", [Agents], Kept) ->
    {Times, Pids} = answer_each(Agents, [], []),
    disperse(Pids),
    {Times, Kept};
order("population", [Agents], []) ->
    Start = now_ns(),
    Pids = [spawn(fun() -> agent(0) end) || _ <- lists:seq(1, Agents)],
    Returned = now_ns(),
    Alive = ask_all(Pids),
    {[Alive, Returned - Start, now_ns() - Start], Pids};
order("disperse", [], Pids) ->
    disperse(Pids),
    {[1], []};
order("trips", [TurnNs], Kept) ->
    Other = spawn(fun() -> agent(0) end),
    Times = of_a_process(fun() -> trips(Other, now_ns() + TurnNs, []) end),
    disperse([Other]),
    {Times, Kept};
order("count", [Messages], Kept) ->
    Counter = spawn(fun() -> agent(0) end),
    {Counted, Passed} = of_a_process(
        fun() ->
            Start = now_ns(),
            send_all(Counter, Messages),
            Counter ! {self(), counted},
            receive {Counter, Counted} -> {Counted, now_ns() - Start} end
        end),
    Messages = Counted,
    disperse([Counter]),
    {[Passed], Kept};
order("crowd", [Agents, Some, PauseMs, TurnNs], Kept) ->
    Pids = [spawn(fun() -> agent(0) end) || _ <- lists:seq(1, Agents)],
    Alive = ask_all(Pids),
    Other = spawn(fun() -> agent(0) end),
    Probe = fun() -> trips(Other, now_ns() + TurnNs, []) end,
    _ = of_a_process(fun() -> trips(Other, now_ns() + TurnNs div 5, []) end),
    Idle = of_a_process(Probe),
    Self = self(),
    Chatting = [spawn(fun() -> chat(Self, Pid, PauseMs, 0) end) || Pid <- lists:sublist(Pids, Some)],
    timer:sleep(PauseMs),
    Chatter = of_a_process(Probe),
    [Pid ! hush || Pid <- Chatting],
    Chats = lists:sum([receive {Pid, chats, N} -> N end || Pid <- Chatting]),
    disperse([Other | Pids]),
    {[Alive, Chats, length(Idle) | Idle ++ Chatter], Kept}.

%% Counts what carries no asker; answers who asks.
agent(Counted) ->
    receive
        add -> agent(Counted + 1);
        {Asker, counted} -> Asker ! {self(), Counted}, agent(0);
        {Asker, Body} -> Asker ! {self(), Body}, agent(Counted);
        stop -> ok
    end.

spawn_each(0, Times, Pids) ->
    {Times, Pids};
spawn_each(Left, Times, Pids) ->
    Start = now_ns(),
    Pid = spawn(fun() -> agent(0) end),
    Passed = now_ns() - Start,
    spawn_each(Left - 1, [Passed | Times], [Pid | Pids]).

answer_each(0, Times, Pids) ->
    {Times, Pids};
answer_each(Left, Times, Pids) ->
    Start = now_ns(),
    Pid = spawn(fun() -> agent(0) end),
    Pid ! {self(), 1},
    receive {Pid, 1} -> ok end,
    Passed = now_ns() - Start,
    answer_each(Left - 1, [Passed | Times], [Pid | Pids]).

trips(Other, Until, Times) ->
    Start = now_ns(),
    if
        Start >= Until -> Times;
        true ->
            Other ! {self(), 1},
            receive {Other, 1} -> ok end,
            trips(Other, Until, [now_ns() - Start | Times])
    end.

send_all(_, 0) ->
    ok;
send_all(Counter, Left) ->
    Counter ! add,
    send_all(Counter, Left - 1).

chat(Parent, Other, PauseMs, Chats) ->
    receive
        hush -> Parent ! {self(), chats, Chats}
    after PauseMs ->
        Other ! {self(), 1},
        receive {Other, 1} -> ok end,
        chat(Parent, Other, PauseMs, Chats + 1)
    end.

ask_all(Pids) ->
    [Pid ! {self(), 1} || Pid <- Pids],
    lists:sum([receive {_, 1} -> 1 end || _ <- Pids]).

disperse(Pids) ->
    [Pid ! stop || Pid <- Pids],
    ok.

%% What a process other than the one that reads orders finds.
of_a_process(Fun) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit({found, Fun()}) end),
    receive {'DOWN', Monitor, process, Pid, {found, Found}} -> Found end.

now_ns() ->
    erlang:monotonic_time(nanosecond).
